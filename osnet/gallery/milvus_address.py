"""Addresses of galleries on a Milvus server: which server, database and collection, and how a new one is made."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass

from osnet.checks import check_choice
from osnet.errors import OptionError
from osnet.escaping import printable

TOKEN = "OSNET_MILVUS_TOKEN"  # noqa: S105 - the name of the variable
"""Environment variable with the token: ``user:password`` or an API key."""

COLLECTION = "people"
"""Collection of an address that names none."""

INDEXES: Mapping[str, Mapping[str, int]] = {
    "HNSW": {"M": 32, "efConstruction": 256},
    "FLAT": {},
    "IVF_FLAT": {"nlist": 1024},
    "DISKANN": {},
    "AUTOINDEX": {},
}
PARTITIONS = ("camera", "day")


@dataclass(frozen=True)
class Address:
    """``http://host:19530/database/collection?index=HNSW&partition=camera``; only the host is needed.

    Attributes:
        server: scheme, host and port.
        database: None for the default one.
        collection: name.
        index: of a new gallery, one of `INDEXES`.
        partition: of a new gallery: ``camera``, ``day`` or None.
    """

    server: str
    database: str | None
    collection: str
    index: str = "HNSW"
    partition: str | None = None

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read an address.

        Raises:
            OptionError: not such an address.
        """
        expected = "expected an address such as http://host:19530/people"
        try:
            parts = urllib.parse.urlsplit(text)
            port = parts.port or {"http": 19530, "https": 443}[parts.scheme]
        except (ValueError, KeyError):
            raise OptionError(f"where: {expected}, got {printable(text):.200}") from None
        if parts.username or parts.password:
            raise OptionError(f"where: {expected}, without a password; set {TOKEN}, or give token=")
        names = [name for name in parts.path.split("/") if name]
        if not parts.hostname or parts.fragment or len(names) > 2:
            raise OptionError(f"where: {expected}, got {printable(text):.200}")
        for name in names:
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,254}", name):
                raise OptionError(
                    f"where: {printable(name):.80} cannot be the name of a collection; expected letters, digits and _"
                )
        settings = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
        for key in settings:
            check_choice("where: setting", key, ("index", "partition"))
        index, partition = settings.get("index", "HNSW").upper(), settings.get("partition")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        return cls(
            server=f"{parts.scheme}://{host}:{port}",
            database=names[0] if len(names) == 2 else None,
            collection=names[-1] if names else COLLECTION,
            index=check_choice("index", index, INDEXES),
            partition=None if partition is None else check_choice("partition", partition, PARTITIONS),
        )

    def __str__(self) -> str:
        return "/".join(part for part in (self.server, self.database, self.collection) if part)


def is_address(where: object) -> bool:
    """Whether a gallery is meant to be on a server, and not in a file."""
    return isinstance(where, str) and "://" in where
