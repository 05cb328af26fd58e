"""``osnet embed``: image files → a file of features."""

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from osnet.cli.options import (
    AsJson,
    Backend,
    Flip,
    Model,
    Overwrite,
    Precision,
    Size,
    print_json,
    read_size,
    say,
    with_fetch_options,
)
from osnet.progress import Progress


def add_to(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.command("embed")(embed)


@with_fetch_options
def embed(
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help="Images and folders of images.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write: .npz, .parquet or .csv.")],
    model: Model = "osnet",
    backend: Backend = "auto",
    device: Annotated[str, typer.Option(help="auto (cpu), or cuda:0, tensorrt:0, ascend:0, ... by backend.")] = "auto",
    input: Annotated[
        Optional[str], typer.Option(help="For an exported file from elsewhere: normalized, unit or bytes.")
    ] = None,
    precision: Precision = "auto",
    size: Size = None,
    batch_size: Annotated[Optional[int], typer.Option(help="Images computed together.")] = None,
    flip: Flip = False,
    normalize: Annotated[bool, typer.Option(help="Scale features to length 1.")] = True,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first unreadable image.")] = False,
    overwrite: Overwrite = False,
    *,
    fetch: dict[str, Any],
    as_json: AsJson = False,
) -> int:
    """Write the features of images to a file.

    Folders are searched with their subfolders. An image that cannot be read is named and left out, and the exit code is
    then 1; with --strict nothing is written.
    """
    from osnet.files import refuse_existing
    from osnet.image_files import find_images, unused
    from osnet.inference.bulk import describe, embed_files
    from osnet.inference.embedder import Embedder
    from osnet.inference.feature_files import check_format

    check_format(out)
    if not overwrite:
        refuse_existing(out)
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
        **fetch,
    )
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
