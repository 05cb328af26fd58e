"""Embed the boxes of a video and name, for each box, the most similar box of the frame before.

python examples/video_boxes.py FRAMES det.txt [--model osnet_msmt17]

FRAMES holds 000001.jpg, 000002.jpg, ...; det.txt has a line for each box, as MOTChallenge writes it:
frame, id, left, top, width, height, ... With OpenCV, take frames from cv2.VideoCapture and Embedder(color="bgr").
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

import osnet

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("frames", type=Path)
parser.add_argument("detections", type=Path)
parser.add_argument("--model", default="osnet_msmt17")
arguments = parser.parse_args()

# "nan": a box that holds no pixel of the frame gets a row of NaN, and the others keep their features
embedder = osnet.Embedder(arguments.model, on_bad_box="nan")
embedder.warm_up()

detections = np.loadtxt(arguments.detections, delimiter=",", ndmin=2)
before = np.empty((0, 512), np.float32)
for number in np.unique(detections[:, 0]).astype(int):
    left, top, width, height = detections[detections[:, 0] == number, 2:6].T
    boxes = np.stack([left, top, left + width, top + height], axis=1)
    frame = np.asarray(Image.open(arguments.frames / f"{number:06}.jpg").convert("RGB"))
    features = embedder(frame, boxes=boxes)
    for box, similarity in enumerate(features @ before.T):
        if np.isfinite(similarity).any():
            best = int(np.nanargmax(similarity))
            print(f"frame {number}, box {box}: box {best} of the frame before ({similarity[best]:.3f})")
    before = features
