"""``osnet export``: a network as a file for another program."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from osnet.cli.options import (
    AsJson,
    ModelArgument,
    Overwrite,
    Size,
    print_json,
    read_size,
    say,
    with_fetch_options,
)

if TYPE_CHECKING:
    from osnet.exporting.verify import Verification

if TYPE_CHECKING:
    from osnet.exporting.export import Export

Images = Annotated[
    Optional[list[Path]],
    typer.Option("--images", metavar="PATH", help="Images or folders to compare on; default: drawn people."),
]


def add_to(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.command("export")(export)


@with_fetch_options
def export(
    model: ModelArgument,
    out: Annotated[Path, typer.Argument(metavar="FILE", help="File to write: .onnx, .xml (OpenVINO) or .mindir.")],
    consumer: Annotated[
        Optional[str],
        typer.Option(
            "--for", metavar="PROGRAM", help="boxmot, ultralytics, deepstream, triton, openvino or mindspore-lite."
        ),
    ] = None,
    input: Annotated[Optional[str], typer.Option(help="Input values: normalized (default), unit or bytes.")] = None,
    layout: Annotated[Optional[str], typer.Option(help="nchw (default), or nhwc with --input bytes.")] = None,
    any_size: Annotated[bool, typer.Option("--any-size", help="Resize in the network; with --layout nhwc.")] = False,
    size: Size = None,
    batch: Annotated[
        Optional[str], typer.Option(metavar="N[,N]", help="Images at once; default: any number. Several: a file each.")
    ] = None,
    precision: Annotated[str, typer.Option(help="fp32, fp16 or int8 (.xml, with --images).")] = "fp32",
    images: Images = None,
    data: Annotated[
        Optional[Path], typer.Option(help="A data set: print the file's size and mAP beside those of the model.")
    ] = None,
    overwrite: Overwrite = False,
    *,
    fetch: dict[str, Any],
    as_json: AsJson = False,
) -> None:
    """Write a network to a file for another program. Its features are compared with the model's first."""
    from osnet.exporting.export import export as write

    results = [
        write(
            model,
            path,
            consumer=consumer,
            input=input,
            layout=layout,
            any_size=any_size,
            size=read_size(size),
            batch=count,
            precision=precision,
            images=found_images(images),
            overwrite=overwrite,
            **fetch,
        )
        for path, count in _batches(out, batch)
    ]
    scores = [{} if data is None else _scores(model, result, data, fetch) for result in results]
    if as_json:
        rows = [{**result.to_dict(), **score} for result, score in zip(results, scores)]
        print_json(rows if len(rows) > 1 else rows[0])
        return
    for result in results:
        say(
            f"{', '.join(map(str, result.files))}: {result.precision}, cosine to osnet embed on {result.images} "
            f"images: mean {result.mean_cosine:.6f}, least {result.least_cosine:.6f}"
        )
    for score in filter(None, scores):
        of_file, of_model = 100 * score["mAP"], 100 * score["model_mAP"]
        say(
            f"{score['bytes']:,} bytes; mAP {of_file:.2f} %, of the model in fp32 {of_model:.2f} %: "
            f"{of_file - of_model:+.2f} points"
        )


def _scores(model: str, result: "Export", data: Path, fetch: dict[str, Any]) -> dict[str, Any]:
    """Size of the exported files, and mAP of the file and of `model` on `data`."""
    from osnet.evaluation.evaluate import evaluate

    found, whole = (evaluate(one, data, size=result.input_format.size, **fetch) for one in (result.path, model))
    exported = [file for file in result.files if file.stem == result.path.stem]
    return {"bytes": sum(file.stat().st_size for file in exported), "mAP": found.mAP, "model_mAP": whole.mAP}


def _batches(out: Path, batch: Optional[str]) -> list[tuple[Path, Optional[int]]]:
    """The file for each batch that ``--batch`` names; ``a-b8.onnx`` for a batch of 8 where there are several."""
    from osnet.errors import OptionError

    if batch is None:
        return [(out, None)]
    words = batch.split(",")
    if not all(word.strip().isdecimal() and int(word) > 0 for word in words):
        raise OptionError(f"--batch: expected an integer of at least 1, or several as 1,8, got {batch!r}")
    counts = list(dict.fromkeys(int(word) for word in words))
    return [(out.with_name(f"{out.stem}-b{n}{out.suffix}") if len(counts) > 1 else out, n) for n in counts]


def verify_file(
    path: Path, consumer: str, model: Optional[str], images: Optional[list[Path]], fetch: dict[str, Any], as_json: bool
) -> int:
    """Exit code of ``osnet verify FILE --for PROGRAM``."""
    from osnet.exporting.verify import verify

    result = verify(path, consumer, model=model, images=found_images(images), **fetch)
    if as_json:
        print_json(result.to_dict())
    else:
        height, width = result.size
        figures = (
            f"{result.images} images at {height}x{width}, cosine to osnet embed: mean {result.mean_cosine:.4f}, least "
            f"{result.least_cosine:.4f}; on crops resized as {consumer} does: least {result.resized_least_cosine:.6f}"
        )
        say(f"right: {figures}" if result.right else f"WRONG: {_why(result)} ({figures})")
    return 0 if result.right else 1


def _why(result: "Verification") -> str:
    """Why users of the program get other features, and what to do."""
    again = f"export it again with --for {result.consumer}"
    if result.takes is None:
        return (
            "no way to feed this file gives the features of the model: it holds other weights or another network (name "
            f"its checkpoint with --model), or {again}"
        )
    if result.takes != result.feeds:
        return f"the file takes {result.takes}, and {result.consumer} feeds {result.feeds}; {again}"
    return "the file is right, and the size or the resize of the program changes the features of these images"


def found_images(images: Optional[list[Path]]) -> Optional[list[Path]]:
    """The image files that ``--images`` names."""
    from osnet.image_files import find_images

    return find_images(images)[0] if images else None
