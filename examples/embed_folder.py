"""Embed every image below a folder into one file of features.

python examples/embed_folder.py FOLDER OUT.npz [--model osnet_msmt17]

`osnet embed FOLDER -o OUT.npz` does the same on the command line.
"""

import argparse

import osnet
from osnet.inference.bulk import embed_files

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder")
parser.add_argument("out", help=".npz, .parquet or .csv")
parser.add_argument("--model", default="osnet_msmt17")
arguments = parser.parse_args()

embedder = osnet.Embedder(arguments.model)
result = embed_files(embedder, [arguments.folder], arguments.out)
print(f"{result.written} images embedded, {len(result.failed)} could not be read")
for message in result.failed:
    print(message)
