"""``osnet embed``: image files → a file of features."""

import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from osnet.cli.options import (
    AllowHost,
    AllowHttp,
    AsJson,
    CacheDir,
    Mirror,
    Model,
    Offline,
    Size,
    Timeout,
    fetch_keywords,
    print_json,
    read_size,
    say,
)
from osnet.escaping import printable


def add_to(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.command("embed")(embed)


def embed(
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help="Images and folders of images.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write: .npz, .parquet or .csv.")],
    model: Model = "osnet",
    backend: Annotated[str, typer.Option(help="auto (openvino), openvino, onnxruntime or mindspore.")] = "auto",
    device: Annotated[str, typer.Option(help="auto (cpu), or cuda:0, tensorrt:0, ascend:0, ... by backend.")] = "auto",
    input: Annotated[
        Optional[str], typer.Option(help="For an exported file from elsewhere: normalized, unit or bytes.")
    ] = None,
    precision: Annotated[
        str, typer.Option(help="auto (fp32), fp32, bf16, or fast: bf16 where the processor has it.")
    ] = "auto",
    size: Size = None,
    batch_size: Annotated[Optional[int], typer.Option(help="Crops computed together.")] = None,
    flip: Annotated[bool, typer.Option("--flip", help="Average with the mirror image; twice the work.")] = False,
    normalize: Annotated[bool, typer.Option(help="Features of length 1.")] = True,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first unreadable image.")] = False,
    cache_dir: CacheDir = None,
    offline: Offline = None,
    mirror: Mirror = None,
    allow_host: AllowHost = None,
    allow_http: AllowHttp = None,
    timeout: Timeout = None,
    as_json: AsJson = False,
) -> int:
    """Write the features of images to a file.

    An unreadable image is named and left out, and the exit code is 1; with --strict nothing is written. Folders are
    searched to the bottom for image files; other files in them are counted and named.
    """
    from tqdm import tqdm

    from osnet.image_files import find_images, unused
    from osnet.inference.bulk import describe, embed_files
    from osnet.inference.embedder import Embedder
    from osnet.inference.feature_files import check_format

    check_format(out)
    find_images(inputs)  # a wrong folder is said before any weights are fetched
    embedder = Embedder(
        model,
        backend=backend,
        device=device,
        input=input,
        precision=precision,
        size=read_size(size),
        batch_size=batch_size,
        normalize=normalize,
        flip=flip,
        **fetch_keywords(cache_dir, offline, mirror, allow_host, allow_http, timeout),
    )
    with tqdm(unit="img", disable=not sys.stderr.isatty(), delay=1) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        result = embed_files(
            embedder,
            inputs,
            out,
            strict=strict,
            progress=show,
            on_failure=lambda message: bar.write(printable(f"osnet: left out: {message}"), file=sys.stderr),
        )
    if as_json:
        print_json(
            {
                "out": str(out),
                "written": result.written,
                "failed": list(result.failed),
                "not_images": [str(path) for path in result.others],
                "with": {**describe(embedder), "normalized": normalize, "flip": flip},
            }
        )
    else:
        say(f"{out}: {result.written} features of {embedder.source.network} in {embedder.precision}")
    if result.others:
        say(f"osnet: {unused(result.others)}", err=True)
    if result.failed:
        say(f"osnet: {len(result.failed)} images could not be read and were left out", err=True)
    return 1 if result.failed else 0
