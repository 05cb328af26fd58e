"""`osnet serve` under twice the load that it can serve, and killed while people are enrolled.

    python -m benchmarks.serving [--networks osnet_x1_0 osnet_x0_25] [--routes embed search] [--seconds 60]
                                 [--kills 10] [--hey]

A process of its own on the loopback, asked by asyncio in this one, which shares the cores with it; the table says how
much of a core the client takes. First as many requests as are answered (closed loop), which gives the capacity; then
requests at twice that rate, whether answers come or not. `--hey` leaves the second part to processes of Debian's
package hey, each a few requests at a time, spread over time. `--kills` enrols people, kills the server with SIGKILL at
a random moment, and looks for what was acknowledged.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import itertools
import os
import random
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np

import osnet
from benchmarks.timing import print_machine, print_table
from osnet.checkpoint.safetensors import write_safetensors
from osnet.drawn.dataset import draw_dataset
from osnet.gallery.gallery import Gallery
from tests.recipe import CLASSES, recipe_weights

ENTRIES = 10_000
CONNECTIONS = 96
WARM_UP = 3.0
HEYS, WORKERS = 32, 6
"""Processes of hey, and requests that each of them sends at once."""


class Server:
    """A server process, ready to be asked."""

    def __init__(self, gallery: Path, model: Path) -> None:
        command = [sys.executable, "-m", "osnet", "serve", str(gallery), "--port", "0", "--model", str(model)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout
        first = self.process.stdout.readline()
        self.port = int(first.rstrip().rstrip("/").rpartition(":")[2])

    def memory(self) -> float:
        """Resident megabytes."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def stop(self, kind: int = signal.SIGTERM) -> int:
        self.process.send_signal(kind)
        return self.process.wait(60)


def request(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Load:
    """Requests to one server over some connections, with the status and seconds of each."""

    def __init__(self, port: int, requests: list[bytes]) -> None:
        self.port, self.requests = port, itertools.cycle(requests)
        self.answers: list[tuple[int, float]] = []
        self.late = 0

    async def ask(self, connection: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        reader, writer = connection
        start = time.perf_counter()
        writer.write(next(self.requests))
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        self.answers.append((int(head[9:12]), time.perf_counter() - start))

    async def closed(self, seconds: float, count: int) -> float:
        """Answers a second when each of `count` connections asks again as soon as it is answered."""
        until = time.perf_counter() + seconds

        async def one() -> None:
            connection = await asyncio.open_connection("127.0.0.1", self.port)
            while time.perf_counter() < until:
                await self.ask(connection)
            connection[1].close()

        await asyncio.gather(*(one() for _ in range(count)))
        return sum(status == 200 for status, _ in self.answers) / seconds

    async def open(self, seconds: float, rate: float) -> None:
        """Ask `rate` times a second; a request for which no connection is free is counted as late and not sent."""
        free = [await asyncio.open_connection("127.0.0.1", self.port) for _ in range(2 * CONNECTIONS)]
        under_way: set[asyncio.Task[None]] = set()

        async def one(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
            await self.ask(connection)
            free.append(connection)

        start = time.perf_counter()
        for number in itertools.count():
            moment = start + number / rate
            if moment > start + seconds:
                break
            await asyncio.sleep(max(0, moment - time.perf_counter()))
            if not free:
                self.late += 1
                continue
            task = asyncio.create_task(one(free.pop(0)))  # in turn: none is idle for so long that it is closed
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        await asyncio.gather(*under_way)


def prepare(folder: Path, network: str) -> tuple[Path, Path, list[Path]]:
    """A gallery of random features, its model, and pictures to search for."""
    model = folder / f"{network}.safetensors"
    model.write_bytes(write_safetensors(recipe_weights(network, CLASSES).arrays))
    if not (folder / "people").exists():
        draw_dataset(folder / "people", identities=12, cameras=2, images_per_camera=3, seed=1)
    pictures = sorted((folder / "people").rglob("*.jpg"))
    rng = np.random.default_rng(0)
    features = rng.standard_normal((ENTRIES, 512)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    with Gallery.create(folder / f"{network}.gallery", model) as gallery:
        gallery.add(features, identity=[str(number % 1000) for number in range(ENTRIES)], camera="1")
    return folder / f"{network}.gallery", model, pictures


def alone(model: Path, pictures: list[Path], seconds: float) -> float:
    """Pictures a second of `Embedder` on the same files, in a process of its own."""
    code = f"""
import sys, time, osnet
embedder = osnet.Embedder({str(model)!r})
files = ({[str(path) for path in pictures]!r} * 20)[:512]
embedder(files)
start, count = time.perf_counter(), 0
while time.perf_counter() - start < {seconds}:
    embedder(files)
    count += len(files)
print(count / (time.perf_counter() - start))
"""
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def by_hey(port: int, path: str, picture: Path, seconds: float, rate: float) -> tuple[list[tuple[int, float]], float]:
    """Status and seconds of each answer to `rate` requests a second, and the seconds of a core that hey took."""
    each = rate / (HEYS * WORKERS)
    command = ["hey", "-z", f"{seconds:g}s", "-c", str(WORKERS), "-q", f"{each:g}", "-cpus", "1", "-m", "POST"]
    command += ["-T", "image/jpeg", "-D", str(picture), "-o", "csv", f"http://127.0.0.1:{port}{path}"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    answers: list[tuple[int, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        processes = []
        for number in range(HEYS):  # those of one process send at the same moment
            with Path(folder, str(number)).open("w") as out:
                processes.append(subprocess.Popen(command, stdout=out))
            time.sleep(1 / (each * HEYS))
        for number, process in enumerate(processes):
            process.wait()
            with Path(folder, str(number)).open() as lines:
                rows = csv.DictReader(lines)
                answers += [(int(row["status-code"]), float(row["response-time"])) for row in rows]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return answers, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


class Memory(threading.Thread):
    """Looks at the server's memory every few seconds until `end`."""

    def __init__(self, server: Server) -> None:
        super().__init__(daemon=True)
        self._server, self._ended = server, threading.Event()
        self.seen = [(time.perf_counter(), server.memory())]

    def run(self) -> None:
        while not self._ended.wait(2):
            self.seen.append((time.perf_counter(), self._server.memory()))

    def end(self) -> str:
        """Megabytes at the start, half-way and at the end, and how they rise in the second half."""
        self._ended.set()
        self.join()
        times, sizes = np.array(self.seen).T
        late = times >= (times[0] + times[-1]) / 2
        slope = 3600 * np.polyfit(times[late] - times[0], sizes[late], 1)[0] if late.sum() > 2 else float("nan")
        half = sizes[late][0]
        return f"{sizes[0]:.0f} → {half:.0f} → {sizes[-1]:.0f}, {slope:+.1f}/h"


ROUTES = {"embed": "/api/embed", "search": "/api/search?limit=20"}


def load(folder: Path, network: str, routes: list[str], seconds: float, hey: bool) -> None:
    gallery, model, pictures = prepare(folder, network)
    bodies = [path.read_bytes() for path in pictures]
    before = alone(model, pictures, min(10, seconds / 3))
    figures: list[tuple[str, float, list[float], list[float], str, float, Counter[int]]] = []
    for route in (ROUTES[name] for name in routes):
        server = Server(gallery, model)
        requests = [request(route, body) for body in bodies]
        asyncio.run(Load(server.port, requests).closed(WARM_UP, 8))
        capacity = asyncio.run(Load(server.port, requests).closed(min(10, seconds / 3), 24))
        memory = Memory(server)
        memory.start()
        if hey:
            sent, used = by_hey(server.port, route, pictures[0], seconds, 2 * capacity)
        else:
            run, start = Load(server.port, requests), time.process_time()
            asyncio.run(run.open(seconds, 2 * capacity))
            sent, used = run.answers, time.process_time() - start
            print(f"{route}: {run.late} requests were not sent, all connections waited")
        good = sorted(taken for status, taken in sent if status == 200)
        refused = sorted(taken for status, taken in sent if status in (429, 503))
        kinds = Counter(status for status, _ in sent)
        figures.append((route.partition("?")[0], capacity, good, refused, memory.end(), used, kinds))
        print(f"{route}: exit code {server.stop()}")
    after = alone(model, pictures, min(10, seconds / 3))
    own = statistics.mean((before, after))
    print(f"\n{network}, Embedder alone on the same JPEG files: {before:.0f} before, {after:.0f} after; pictures/s\n")
    rows = [
        (
            route, f"{capacity:.0f}", f"{len(good) / seconds:.0f}", f"{100 * len(good) / seconds / own:.0f} %",
            f"{1000 * at(good, 0.5):.0f}", f"{1000 * at(good, 0.95):.0f}", f"{len(refused) / seconds:.0f}",
            f"{1000 * at(refused, 0.95):.0f}", f"{1000 * at(refused, 1):.0f}", memory, f"{100 * used / seconds:.0f} %",
            ", ".join(f"{kind}: {n}" for kind, n in sorted(kinds.items())),
        )
        for route, capacity, good, refused, memory, used, kinds in figures
    ]  # fmt: skip
    header = ("route", "capacity /s", "served /s at twice", "of Embedder", "median ms", "95 % ms", "refused /s",
              "95 % ms of refusals", "slowest", "memory MB", "client's core", "answers")  # fmt: skip
    print_table(rows, header)


def at(values: list[float], fraction: float) -> float:
    return values[min(len(values) - 1, int(fraction * len(values)))] if values else float("nan")


def kills(folder: Path, count: int) -> int:
    """Entries that were acknowledged and are not there after `count` kills."""
    path = folder / "killed.gallery"
    embedder = osnet.Embedder("osnet_x0_25_drawn")
    Gallery.create(path, embedder, thumbnails=(128, 64)).close()
    pictures = [one.read_bytes() for one in sorted((folder / "people").rglob("*.jpg"))]
    rng, acknowledged = random.Random(0), set()
    for round_ in range(count):
        process = subprocess.Popen(
            [sys.executable, "-m", "osnet", "serve", str(path), "--port", "0"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert process.stdout
        port = int(process.stdout.readline().rstrip().rstrip("/").rpartition(":")[2])
        until = time.monotonic() + rng.uniform(0.05, 1.0)

        async def enrol(worker: int, port: int = port, round_: int = round_) -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for number in itertools.count():
                route = f"/api/entries?identity={round_}-{worker}-{number}"
                writer.write(request(route, rng.choice(pictures)))
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                body = await reader.readexactly(length)
                assert head[9:12] == b"201", head
                acknowledged.add(body.partition(b'"id":"')[2][:32].decode())

        async def all_of(until: float = until, process: subprocess.Popen[str] = process) -> None:
            tasks = [asyncio.create_task(enrol(worker)) for worker in range(4)]
            await asyncio.sleep(max(0, until - time.monotonic()))
            process.kill()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run(all_of())
        process.wait()
    with Gallery(path, embedder) as gallery:
        there = {entry.id for entry in gallery.list()}
        damaged = gallery.check()
    print(f"{count} kills: {len(acknowledged)} entries acknowledged, {len(acknowledged - there)} of them missing, "
          f"{len(there - acknowledged)} written but not yet acknowledged, {len(damaged)} damaged")  # fmt: skip
    return len(acknowledged - there) + len(damaged)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", nargs="+", default=["osnet_x1_0"])
    parser.add_argument("--routes", nargs="+", choices=ROUTES, default=list(ROUTES))
    parser.add_argument("--seconds", type=float, default=60, help="Of each route under twice the load.")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--hey", action="store_true", help="Send the requests by hey.")
    options = parser.parse_args()
    if options.hey and shutil.which("hey") is None:
        parser.error("hey is not here; install Debian's package hey")
    print_machine("openvino", "fastapi", "uvicorn")
    with tempfile.TemporaryDirectory() as folder:
        for network in options.networks:
            load(Path(folder), network, options.routes, options.seconds, options.hey)
        lost = kills(Path(folder), options.kills) if options.kills else 0
    sys.exit(bool(lost))


if __name__ == "__main__":
    main()
