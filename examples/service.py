"""Enrol people in a gallery that `osnet serve` serves, and search for one, with nothing but requests.

python examples/service.py http://127.0.0.1:8765 QUERY.jpg --enrol ann=a.jpg bob=b.jpg [--camera door]

A server on another address needs its token: OSNET_TOKEN=... python examples/service.py ...
"""

import argparse
import os
from pathlib import Path

import requests

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("server")
parser.add_argument("query", type=Path)
parser.add_argument("--enrol", metavar="NAME=PICTURE", nargs="*", default=[])
parser.add_argument("--camera")
arguments = parser.parse_args()

session = requests.Session()
session.headers["Content-Type"] = "application/octet-stream"  # the body of a request is the picture's file
if os.environ.get("OSNET_TOKEN"):
    session.headers["Authorization"] = f"Bearer {os.environ['OSNET_TOKEN']}"


def ask(path: str, picture: Path, **parameters: object) -> dict:
    address = f"{arguments.server.rstrip('/')}{path}"
    answer = session.post(address, params=parameters, data=picture.read_bytes(), timeout=60)
    if not answer.ok:
        raise SystemExit(f"{picture}: {answer.json()['detail']}")
    return answer.json()


for pair in arguments.enrol:
    name, _, picture = pair.partition("=")
    done = ask("/api/entries", Path(picture), identity=name, camera=arguments.camera)
    print(f"{name}: {'enrolled' if done['new'] else 'was there already'}")

found = ask("/api/search", arguments.query, limit=5, group=True, threshold=0.7)
print(f"{arguments.query}: {found['identity'] or 'nobody of the gallery'}")
for match in found["matches"]:
    entry = match["entry"]
    print(f"{match['similarity']:.3f}  {entry['identity']}  {entry['camera'] or ''}")
