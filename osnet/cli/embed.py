"""``osnet embed``: image files → a file or a folder of features."""

import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from osnet.checks import check_choice
from osnet.cli.options import (
    AsJson,
    Backend,
    Device,
    Flip,
    Input,
    Model,
    Overwrite,
    Precision,
    Size,
    print_json,
    read_size,
    say,
    with_fetch_options,
)
from osnet.errors import OptionError
from osnet.locations import is_address, location
from osnet.progress import Progress

ENGINES = ("local", "ray")


def add_to(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.command("embed")(embed)


@with_fetch_options
def embed(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="Images and folders of images; to a folder also tables, lists, .tar files, - (stdin), video, s3://.",
        ),
    ],
    out: Annotated[
        str,
        typer.Option(
            "--out", "-o", metavar="FILE|FOLDER/", help="File (.npz, .parquet, .csv) or folder of Parquet parts."
        ),
    ],
    model: Model = "osnet",
    backend: Backend = "auto",
    device: Device = "auto",
    input: Input = None,
    precision: Precision = "auto",
    size: Size = None,
    batch_size: Annotated[Optional[int], typer.Option(help="Images computed together.")] = None,
    flip: Flip = False,
    normalize: Annotated[bool, typer.Option(help="Scale features to length 1.")] = True,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first unreadable image.")] = False,
    overwrite: Overwrite = False,
    boxes: Annotated[
        Optional[Path],
        typer.Option(metavar="FILE", help="Folder: boxes of a video or a folder of frames, in MOT format."),
    ] = None,
    part_size: Annotated[Optional[int], typer.Option(help="Folder: images of a part; default 10,000.")] = None,
    store: Annotated[Optional[str], typer.Option(help="Folder: float32 (default) or float16.")] = None,
    shard: Annotated[
        Optional[str], typer.Option(metavar="I/N", help="Folder: make only parts I, I+N, I+2N, ...; I from 0 to N-1.")
    ] = None,
    engine: Annotated[str, typer.Option(help="Folder: local, or ray: the workers of a Ray cluster.")] = "local",
    worker_cpus: Annotated[
        Optional[int], typer.Option(help="ray: processors of a worker; default: those of the smallest node.")
    ] = None,
    *,
    fetch: dict[str, Any],
    as_json: AsJson = False,
) -> int:
    """Write the features of images to a file, or to a folder of Parquet parts.

    Folders are searched with their subfolders. An image that cannot be read is named and left out, and the exit code is
    then 1; with --strict the command stops there. A folder is named with a / at its end, or exists; the same command
    again continues a run that was interrupted.
    """
    to_folder = out.endswith(("/", os.sep)) or location(out).is_dir()
    if to_folder and overwrite:
        raise OptionError("--overwrite replaces a file; for new features name another folder, or remove this one")
    if not to_folder and is_address(out):
        raise OptionError(f"{out}: to an object store goes a folder of parts; end its name with a /: -o {out}/")
    if boxes and any(map(is_address, inputs)):
        raise OptionError(f"{inputs[0]}: --boxes needs a video or a folder of frames on this machine; copy it first")
    given = {
        "--boxes": boxes, "--part-size": part_size, "--store": store, "--shard": shard, "--worker-cpus": worker_cpus,
        "--engine": None if check_choice("--engine", engine, ENGINES) == "local" else engine,
    }  # fmt: skip
    if engine == "ray" and shard is not None:
        raise OptionError("--shard divides parts among processes without Ray; leave it out, or --engine ray")
    if engine != "ray" and worker_cpus is not None:
        raise OptionError("--worker-cpus is for --engine ray")
    if not to_folder and any(value is not None for value in given.values()):
        name = next(name for name, value in given.items() if value is not None)
        raise OptionError(f"{name} is for a folder of parts; end the output with a /: -o {out}/")
    how: dict[str, Any] = {
        "backend": backend, "device": device, "input": input, "precision": precision, "size": read_size(size),
        "batch_size": batch_size, "normalize": normalize, "flip": flip, **fetch,
    }  # fmt: skip
    if to_folder:
        parts = {"part_size": part_size, "store": store, "shard": shard, "strict": strict}
        parts |= {"worker_cpus": worker_cpus} if engine == "ray" else {}
        return _to_folder(inputs, boxes, out, model, how, parts, as_json)
    return _to_file(inputs, Path(out), model, how, strict, overwrite, as_json)


def _to_folder(
    inputs: list[str],
    boxes: Optional[Path],
    out_name: str,
    model: str,
    how: dict[str, Any],
    parts: dict[str, Any],
    as_json: bool,
) -> int:
    from osnet.inference.bulk import describe
    from osnet.inference.embedder import Embedder
    from osnet.inference.feature_folder import FAILED
    from osnet.inference.frames import FrameSource
    from osnet.inference.shards import ShardResult, check_settings, embed_shards, parse_shard
    from osnet.inference.sources import Source

    out = location(out_name)
    check_settings(parts["part_size"], parts["store"])
    if "worker_cpus" in parts:
        from osnet.inference.ray_engine import embed_with_ray, import_ray

        import_ray()  # what is missing is said before any weights are fetched
        del parts["shard"]
        embed_parts: Callable[..., ShardResult] = embed_with_ray
    else:
        parts["shard"] = (0, 1) if parts["shard"] is None else parse_shard(parts["shard"], "--shard")
        embed_parts = embed_shards
    source = FrameSource([Path(name) for name in inputs], boxes) if boxes else Source(inputs)
    embedder = Embedder(model, **how)
    with Progress("embedding", "images") as progress:
        result = embed_parts(
            embedder,
            source,
            out_name,
            **parts,
            progress=progress,
            on_failure=lambda message: say(f"osnet: left out: {message}", err=True),
        )
    if as_json:
        print_json({"out": str(out), **asdict(result), "with": {**describe(embedder), **_booleans(how)}})
    else:
        say(
            f"{out}: {result.written} features of {embedder.source.network} in {embedder.precision}; parts: "
            f"{result.computed} computed, {result.there} there before, {result.parts} in all shards"
        )
    if result.ignored:
        shown = ", ".join(result.examples)
        say(f"osnet: {result.ignored} files are not images and were not used, such as {shown}", err=True)
    if result.failed:
        say(f"osnet: {result.failed} images could not be read and were left out; see {out / FAILED}", err=True)
    return 1 if result.failed else 0


def _booleans(how: dict[str, Any]) -> dict[str, bool]:
    return {"normalized": how["normalize"], "flip": how["flip"]}


def _to_file(
    inputs: list[str], out: Path, model: str, how: dict[str, Any], strict: bool, overwrite: bool, as_json: bool
) -> int:
    from osnet.files import refuse_existing
    from osnet.image_files import find_images, unused
    from osnet.inference.bulk import describe, embed_files
    from osnet.inference.embedder import Embedder
    from osnet.inference.feature_files import check_format
    from osnet.inference.sources import is_stream

    check_format(out)
    for path in inputs:
        if is_address(path) or is_stream(path):
            raise OptionError(f"{path}: tables, lists, tar files, - and object stores need a folder: -o FOLDER/")
    if not overwrite:
        refuse_existing(out)
    find_images(inputs)  # a wrong folder is said before any weights are fetched
    embedder = Embedder(model, **how)
    with Progress("embedding", "images") as progress:
        result = embed_files(
            embedder,
            inputs,
            out,
            strict=strict,
            progress=progress,
            on_failure=lambda message: say(f"osnet: left out: {message}", err=True),
        )
    if as_json:
        print_json(
            {
                "out": str(out),
                "written": result.written,
                "failed": list(result.failed),
                "not_images": [str(path) for path in result.others],
                "with": {**describe(embedder), **_booleans(how)},
            }
        )
    else:
        say(f"{out}: {result.written} features of {embedder.source.network} in {embedder.precision}")
    if result.others:
        say(f"osnet: {unused(result.others)}", err=True)
    if result.failed:
        say(f"osnet: {len(result.failed)} images could not be read and were left out", err=True)
    return 1 if result.failed else 0
