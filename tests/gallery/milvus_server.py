"""A real Milvus Lite server in a process of its own: ``python milvus_server.py FOLDER [TOKEN]`` prints its port.

It ends when its standard input does. With a token it refuses others as Milvus does, which Milvus Lite itself never
does.
"""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def run_milvus(folder: Path, token: str | None = None) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A server that keeps its data in `folder`: its address and process."""
    import pytest

    if importlib.util.find_spec("milvus_lite") is None or importlib.util.find_spec("milvus_lite.adapter") is None:
        pytest.skip("needs milvus-lite 3.2 or newer, for Python 3.10 or newer: pip install milvus-lite")
    # protobuf in pure Python, which MindSpore needs, makes the server several times slower
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PROTOCOL_BUFFERS")}
    command = [sys.executable, __file__, str(folder), *([token] if token else [])]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=folder
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        port = process.stdout.readline()
        assert port, f"the server ended with code {process.wait()}"
        yield f"http://127.0.0.1:{int(port)}", process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def main() -> None:
    import grpc
    from milvus_lite.adapter.grpc import server as lite

    class Guard(grpc.ServerInterceptor):
        def intercept_service(self, continuation, details):
            sent = dict(details.invocation_metadata).get("authorization", "")
            if sent == base64.b64encode(sys.argv[2].encode()).decode():
                return continuation(details)

            def refuse(request, context):
                message = "auth check failure, please check api key is correct"
                context.abort(grpc.StatusCode.UNAUTHENTICATED, message)

            return grpc.unary_unary_rpc_method_handler(refuse)

    if len(sys.argv) > 2:
        plain = grpc.server
        grpc.server = lambda *args, **keywords: plain(*args, interceptors=[Guard()], **keywords)
    server, database, port = lite.start_server_in_thread(sys.argv[1])
    print(port, flush=True)
    sys.stdin.read()
    server.stop(grace=None)
    database.close()


if __name__ == "__main__":
    main()
