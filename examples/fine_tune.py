"""Fine-tune with a training loop of your own, in MindSpore. `osnet train` is the loop that the package brings.

python examples/fine_tune.py FOLDER OUT.ckpt [--model osnet_msmt17] [--steps 100]

FOLDER holds a folder of images for each person.
"""

import argparse
from pathlib import Path

import mindspore
import numpy as np
from mindspore import nn

import osnet
from osnet.inference.images import prepare

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder", type=Path)
parser.add_argument("out")
parser.add_argument("--model", default="osnet_msmt17")
parser.add_argument("--steps", type=int, default=100)
parser.add_argument("--batch-size", type=int, default=32)
arguments = parser.parse_args()

people = sorted(path for path in arguments.folder.iterdir() if path.is_dir())
images = [(path, label) for label, person in enumerate(people) for path in sorted(person.iterdir())]
pictures = np.stack([prepare(path) for path, _ in images])  # uint8 (N, 256, 128, 3), RGB
labels = np.array([label for _, label in images], np.int32)

network = osnet.load(arguments.model, num_classes=len(people))  # the classifier is new, the rest is the checkpoint's
network.set_train()
optimizer = nn.Adam(network.trainable_params(), learning_rate=3e-4)
criterion = nn.CrossEntropyLoss(label_smoothing=0.1)


def loss_of(x: mindspore.Tensor, y: mindspore.Tensor) -> mindspore.Tensor:
    return criterion(network(x), y)  # in training mode the network gives logits


gradients_of = mindspore.value_and_grad(loss_of, None, optimizer.parameters)
mean, deviation = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
rng = np.random.default_rng(0)
for step in range(arguments.steps):
    chosen = rng.choice(len(images), min(arguments.batch_size, len(images)), replace=False)
    batch = pictures[chosen]
    batch = np.where(rng.random((len(batch), 1, 1, 1)) < 0.5, batch, batch[:, :, ::-1])  # mirror half of them
    x = ((batch / np.float32(255) - mean) / deviation).transpose(0, 3, 1, 2)
    loss, gradients = gradients_of(mindspore.Tensor(np.ascontiguousarray(x)), mindspore.Tensor(labels[chosen]))
    optimizer(gradients)
    print(f"step {step + 1}: loss {float(loss):.3f}")

mindspore.save_checkpoint(network, arguments.out)
print(osnet.Embedder(arguments.out)(images[0][0]).shape, "from the new checkpoint, which every command takes")
