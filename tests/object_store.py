"""A real S3 server on the loopback address, in a process of its own: moto's, with faults on demand.

    python -m tests.object_store

prints its port and serves until it is killed. A request without credentials is refused, as is one that a line of the
file that ``OSNET_TEST_FAULTS`` names matches: ``METHOD PATTERN``, the pattern is searched in path and query; with
``KILL`` as a third word the server ends itself instead.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
_DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


class Store:
    """A running server with the bucket ``crops``, and a client to look into it.

    Attributes:
        environment: what a program needs to reach it.
    """

    def __init__(self, port: int, process: subprocess.Popen[str], faults: Path) -> None:
        self.process, self._faults = process, faults
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ACCESS_KEY_ID": "key", "AWS_REGION": "us-east-1",
            "AWS_SECRET_ACCESS_KEY": "secret", "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "AWS_MAX_ATTEMPTS": "1",
        }  # fmt: skip
        import boto3

        self.client = boto3.client(
            "s3", endpoint_url=self.environment["AWS_ENDPOINT_URL"], aws_access_key_id="key",
            aws_secret_access_key="secret", region_name="us-east-1",
        )  # fmt: skip
        self.client.create_bucket(Bucket="crops")

    def put(self, folder: Path, prefix: str) -> None:
        """Upload the files below `folder` to names that begin with `prefix`."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.client.upload_file(str(path), "crops", f"{prefix}/{path.relative_to(folder).as_posix()}")

    def names(self, prefix: str) -> list[str]:
        """Names of the objects below `prefix`, without it."""
        found = self.client.list_objects_v2(Bucket="crops", Prefix=f"{prefix}/").get("Contents", [])
        return sorted(one["Key"][len(prefix) + 1 :] for one in found if not one["Key"].endswith("/"))

    def get(self, prefix: str, folder: Path) -> Path:
        """Download the objects below `prefix` to `folder`."""
        folder.mkdir()
        for name in self.names(prefix):
            self.client.download_file("crops", f"{prefix}/{name}", str(folder / name))
        return folder

    @contextlib.contextmanager
    def fault(self, *lines: str) -> Iterator[None]:
        """While the block runs, requests that match one of `lines` are refused, or end the server."""
        self._faults.write_text("\n".join(lines))
        try:
            yield
        finally:
            self._faults.write_text("")


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Store]:
    """A new server; `folder` is for a file of its own."""
    pytest.importorskip("moto.server")
    faults = folder / "faults"
    faults.write_text("")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.object_store"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OSNET_TEST_FAULTS": str(faults)},
    )
    try:
        assert process.stdout is not None
        yield Store(int(process.stdout.readline()), process, faults)
    finally:
        process.kill()
        process.communicate()


def serve() -> None:
    """Serve on a free port until killed."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    moto = DomainDispatcherApplication(create_backend_app)
    faults = Path(os.environ["OSNET_TEST_FAULTS"])

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        asked = f"{environ['PATH_INFO']}?{environ['QUERY_STRING']}"
        for line in faults.read_text().splitlines():
            method, pattern, *kill = line.split()
            if method == environ["REQUEST_METHOD"] and re.search(pattern, asked):
                if kill:
                    os.kill(os.getpid(), signal.SIGKILL)
                return refuse(start_response)
        if "HTTP_AUTHORIZATION" not in environ:
            return refuse(start_response)
        return moto(environ, start_response)

    def refuse(start_response: Any) -> Iterable[bytes]:
        start_response("403 Forbidden", [("Content-Type", "application/xml")])
        return [_DENIED]

    class Quiet(WSGIRequestHandler):
        def log_request(self, *_: Any) -> None:
            pass

    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Quiet)
    print(server.port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    serve()
