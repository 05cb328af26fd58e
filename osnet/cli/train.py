"""``osnet train``, ``osnet publish``, ``osnet synth``: data set → run → published checkpoint."""

import dataclasses
import os
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from osnet.cli.options import AsJson, Overwrite, print_json, say


def add_to(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.command("synth")(synth)
    app.command("train")(train)
    app.command("publish")(publish)


def synth(
    out: Annotated[Path, typer.Argument(help="Folder to write; must be new or empty.")],
    video: Annotated[bool, typer.Option("--video", help="Draw video of people who walk, in MOT format.")] = False,
    identities: Annotated[
        Optional[int], typer.Option(help="Number of people, 2 to 9999; default 100, with --video 12.")
    ] = None,
    cameras: Annotated[
        Optional[int], typer.Option(help="Number of cameras, 1 to 9; default 6, with --video 3 of at most 99.")
    ] = None,
    images_per_camera: Annotated[
        Optional[int], typer.Option(help="Pictures of each person by each camera; default 4.")
    ] = None,
    cameras_per_identity: Annotated[
        Optional[int], typer.Option(help="Cameras that see each person; --cameras is then 1 to 500; default: all.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed draws the same pictures.")] = 0,
    world: Annotated[str, typer.Option(help="street or indoor.")] = "street",
    train_fraction: Annotated[
        Optional[float], typer.Option(help="Fraction of the people for training; default 0.5.")
    ] = None,
    train_share: Annotated[Optional[float], typer.Option(hidden=True)] = None,
    workers: Annotated[Optional[int], typer.Option(help="Number of processes; default: one per processor.")] = None,
    seconds: Annotated[Optional[float], typer.Option(help="--video: length; default 30.")] = None,
    fps: Annotated[Optional[int], typer.Option(help="--video: frames per second; default 10.")] = None,
    size: Annotated[
        Optional[str], typer.Option(metavar="WxH", help="--video: pixels of a frame; default 640x360.")
    ] = None,
    misses: Annotated[
        Optional[float], typer.Option(help="--video: fraction of people that det.txt misses; default 0.")
    ] = None,
    jitter: Annotated[
        Optional[float],
        typer.Option(help="--video: error of boxes in det.txt, as a fraction of their size; default 0."),
    ] = None,
    mp4: Annotated[
        Optional[bool], typer.Option("--mp4", help="--video: also write an MP4 file for each camera (needs PyAV).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Draw a data set of pedestrians in Market-1501's layout, or video of them in MOT format."""
    from osnet.errors import OptionError

    if train_share is not None:
        say("--train-share is deprecated; use --train-fraction", err=True)
        train_fraction = train_share
    stills = {
        "images_per_camera": images_per_camera,
        "cameras_per_identity": cameras_per_identity,
        "train_fraction": train_fraction,
        "workers": workers,
    }
    moving = {"seconds": seconds, "fps": fps, "size": size, "misses": misses, "jitter": jitter, "mp4": mp4}
    unused = _given(stills if video else moving)
    if unused:
        option = "--" + next(iter(unused)).replace("_", "-")
        raise OptionError(f"{option} cannot be used {'with' if video else 'without'} --video")
    shared = {**_given({"cameras": cameras}), "seed": seed, "world": world}
    if video:
        _draw_video(out, {**_given({"people": identities}), **shared, **_given(moving)}, as_json=as_json)
        return
    from osnet.drawn.dataset import draw_dataset

    drawn = draw_dataset(out, **_given({"identities": identities}), **shared, **_given(stills))
    if as_json:
        print_json(drawn.as_dict())
    else:
        say(f"{out}: {drawn.train} training images, {drawn.query} queries, {drawn.gallery} gallery images")


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _draw_video(out: Path, options: dict[str, Any], *, as_json: bool) -> None:
    from osnet.drawn.video import draw_video
    from osnet.errors import OptionError

    if "size" in options:
        size = options.pop("size")
        wide, _, high = size.partition("x")
        if not (wide.isdecimal() and high.isdecimal()):
            raise OptionError(f"--size: expected WIDTHxHEIGHT in pixels, such as 640x360, found {size!r}")
        options.update(width=int(wide), height=int(high))
    drawn = draw_video(out, **options)
    if as_json:
        print_json(drawn.as_dict())
    else:
        cameras = len(drawn.sequences)
        say(
            f"{out}: {cameras} sequence{'s' * (cameras > 1)}, {drawn.frames} frames, {drawn.boxes} boxes, "
            f"{drawn.detections} detections"
        )


def train(
    data: Annotated[Optional[Path], typer.Argument(help="Folder or table of the data set.")] = None,
    out: Annotated[Optional[Path], typer.Option("--out", "-o", help="Folder of a new run, new or empty.")] = None,
    resume: Annotated[Optional[Path], typer.Option("--resume", metavar="RUN", help="Continue this run.")] = None,
    config: Annotated[Optional[Path], typer.Option("--config", "-c", help="YAML file; options override it.")] = None,
    model: Annotated[
        Optional[str],
        typer.Option("--model", "-m", help="Model to start from; a network's name: random weights."),
    ] = None,
    epochs: Annotated[Optional[int], typer.Option(help="Passes over the data.")] = None,
    batch_size: Annotated[Optional[int], typer.Option(help="Images per device in one pass.")] = None,
    learning_rate: Annotated[Optional[float], typer.Option(help="Peak learning rate.")] = None,
    seed: Annotated[Optional[int], typer.Option(help="Seed of weights, sampling and augmentation.")] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Also write RUN/tensorboard.")] = False,
    settings: Annotated[
        Optional[list[str]],
        typer.Option("--set", metavar="KEY=VALUE", help="Set any key of the configuration; may be repeated."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train or fine-tune a network. Under msrun, all processes train together."""
    from osnet.errors import OptionError
    from osnet.training.config import TrainConfig, read_config

    flags = {
        "data": data,
        "model": model,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "seed": seed,
    }
    changes: dict[str, Any] = {key: value for key, value in flags.items() if value is not None}
    if tensorboard:
        changes["tensorboard"] = True
    changes.update(_pairs(settings or []))
    if (out is None) == (resume is None):
        raise OptionError("expected --out FOLDER for a new run, or --resume RUN to go on with one")
    from osnet.training import trainer
    from osnet.training.cost import costs

    os.environ.setdefault("GLOG_v", "3")  # MindSpore's warnings of its own compiler; read when it is first imported
    if resume is not None:
        if changes or config:
            raise OptionError(
                f"--resume goes on with the configuration of the run; {', '.join(changes) or '--config'} "
                "cannot be changed: start a new run with --model RUN/last.ckpt"
            )
        run = trainer.resume(resume)
    else:
        chosen = read_config(config, **changes) if config else TrainConfig.from_mapping(changes)
        run = trainer.train(chosen, out)  # type: ignore[arg-type]
    found = [line for line in run.metrics() if line.get("kind") == "evaluation" and line["epoch"] > 0]
    best = max(found, key=lambda line: float(line["mAP"])) if found else None
    if as_json:
        print_json(
            {
                "run": str(run.root),
                "best": best,
                "left_out": run.origin.get("left_out", 0),
                "costs": [dataclasses.asdict(cost) for cost in costs(run)],
            }
        )
    else:
        ended = f"best mAP {best['mAP']:.4f} after epoch {best['epoch']}" if best else "trained"
        left_out = run.origin.get("left_out", 0)
        say(f"{run.root}: {ended}" + (f"; {left_out} image(s) left out, named above" if left_out else ""))


def publish(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    out: Annotated[Optional[Path], typer.Option("--out", "-o", help="Folder; default: RUN/published.")] = None,
    name: Annotated[str, typer.Option(help="Name of the model.")] = "",
    dataset: Annotated[str, typer.Option(help="Name of the training data on the card.")] = "",
    author: Annotated[str, typer.Option(help="Author on the card.")] = "unknown",
    user_id: Annotated[str, typer.Option(help="Publisher, first part of the uid.")] = "me",
    license: Annotated[str, typer.Option(help="License on the card.")] = "Apache2.0",
    base_url: Annotated[Optional[str], typer.Option(help="URL of the folder to upload to.")] = None,
    with_optimizer: Annotated[bool, typer.Option("--with-optimizer", help="Keep the optimizer state.")] = False,
    last: Annotated[bool, typer.Option("--last", help="Publish the last checkpoint instead of the best.")] = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Write the checkpoint and the card of a run, to load and to share."""
    from osnet.training.publishing import publish_run

    more = {"base_url": base_url} if base_url else {}
    found = publish_run(
        run,
        out,
        name=name,
        dataset=dataset,
        author=author,
        user_id=user_id,
        license=license,
        with_optimizer=with_optimizer,
        last=last,
        overwrite=overwrite,
        **more,
    )
    if as_json:
        print_json({"card": str(found.card), "checkpoint": str(found.checkpoint), "sha256": found.sha256})
    else:
        say(found.card)
        say(found.checkpoint)
        say("mindspore_hub loads it once the card's links answer: it asks them at every load", err=True)


def _pairs(settings: list[str]) -> dict[str, Any]:
    """``key=value`` as YAML reads the value."""
    from osnet.errors import OptionError
    from osnet.yaml_files import read_yaml

    found: dict[str, Any] = {}
    for text in settings:
        key, sign, value = text.partition("=")
        if not sign:
            raise OptionError(f"--set: expected KEY=VALUE, got {text!r}")
        found[key.strip()] = read_yaml(value, f"--set {key.strip()}", error=OptionError)
    return found
