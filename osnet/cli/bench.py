"""``osnet bench``: how fast a network is on this machine."""

import sys
from typing import Annotated

import typer

from osnet.cli.options import AsJson, ModelArgument, print_json, say


def add_to(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.command("bench")(bench)


def bench(
    model: ModelArgument = "osnet",
    rounds: Annotated[int, typer.Option(help="Measurements of each figure.")] = 9,
    seconds: Annotated[float, typer.Option(help="Seconds of one round of a stream.")] = 0.5,
    as_json: AsJson = False,
) -> None:
    """Measure a network on this machine, with every backend and precision that is installed, and name the fastest."""
    from tqdm import tqdm

    from osnet.inference.bench import BOXES, EXACT, Measurement, benchmark

    with tqdm(unit="run", disable=not sys.stderr.isatty(), delay=1) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        result = benchmark(model, rounds=rounds, seconds=seconds, progress=show)
    if as_json:
        print_json(result.to_dict())
        return

    def name(one: Measurement) -> str:
        return f"{one.backend} {one.precision}" + (f" on {one.device}" if one.device != "cpu" else "")

    height, width = result.size
    say(f"{result.network} at {height}x{width}; milliseconds as median / 95th percentile of {rounds}")
    heads = ("images/s", "1 crop", *(f"{count} box{'es' if count > 1 else ''}" for count in BOXES), "cosine to fp32")
    width_of_name = max(len(name(one)) for one in result.measurements)
    say(" " * width_of_name + "".join(f" {head:>15}" for head in heads))
    for one in result.measurements:
        times = [f"{middle:.1f} / {slow:.1f}" for middle, slow in (one.crop_ms, *one.boxes_ms.values())]
        cells = [f"{one.images_per_second:.1f}", *times, f"{one.mean_cosine:.6f}"]
        say(f"{name(one):<{width_of_name}}" + "".join(f" {cell:>15}" for cell in cells))
    say(f"fastest: {name(result.best)}; fastest with the features of fp32 (cosine {EXACT}): {name(result.best_exact)}")
    for reason in result.left_out:
        say(f"not measured: {reason}", err=True)
