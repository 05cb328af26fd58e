"""Figures of a server in Prometheus' format."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """What a server counts. Each server has a registry of its own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "osnet_requests", "Requests answered.", ("method", "route", "status"), registry=registry
        )
        self.seconds = Histogram(
            "osnet_request_seconds", "From the first byte to the answer.", ("route",), buckets=_SECONDS,
            registry=registry,
        )  # fmt: skip
        self.refused = Counter(
            "osnet_refused", "Requests refused before they were worked on.", ("reason",), registry=registry
        )
        self.runs = Histogram(
            "osnet_network_pictures", "Pictures that one run of the network computed.", buckets=_SIZES,
            registry=registry,
        )  # fmt: skip
        self.run_seconds = Counter("osnet_network_seconds", "Seconds that the network ran.", registry=registry)
        self.waiting = Gauge("osnet_waiting_pictures", "Pictures that are decoded or wait for the network.",
                             registry=registry)  # fmt: skip
        self.connections = Gauge("osnet_connections", "Open connections.", registry=registry)
        self.entries = Gauge("osnet_gallery_entries", "Entries of the gallery.", registry=registry)
        self.identities = Gauge("osnet_gallery_identities", "Persons of the gallery.", registry=registry)
        self.enrolled = Counter("osnet_enrolled", "Entries that were enrolled.", registry=registry)
        self.removed = Counter("osnet_removed", "Entries that were removed.", registry=registry)
