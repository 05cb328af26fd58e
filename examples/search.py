"""Find the images that are most similar to one picture, in a file that embed_folder.py made.

python examples/search.py FEATURES.npz PICTURE [--model osnet_msmt17] [--count 5]
"""

import argparse

import numpy as np

import osnet

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("features")
parser.add_argument("picture")
parser.add_argument("--model", default="osnet_msmt17")
parser.add_argument("--count", type=int, default=5)
arguments = parser.parse_args()

files, gallery, made_with = osnet.read_features(arguments.features)
embedder = osnet.Embedder(arguments.model)
if made_with["sha256"] != embedder.signature.sha256 or made_with["precision"] != embedder.precision:
    raise SystemExit("the file was made with another checkpoint or precision: its features cannot be compared")

(query,) = embedder(arguments.picture)
similarity = gallery @ query  # features have length 1: this is the cosine
for place in np.argsort(-similarity)[: arguments.count]:
    print(f"{similarity[place]:.3f}  {files[place]}")
