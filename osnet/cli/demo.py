"""``osnet demo``: the main job from end to end on pedestrians that are drawn on the spot."""

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from osnet.cli.evaluate import print_table
from osnet.cli.options import (
    say,
    with_fetch_options,
)
from osnet.errors import DownloadError

if TYPE_CHECKING:
    from osnet.checkpoint.weights import Weights

BUILT_IN = "osnet_x0_25_drawn"
"""Alias of the card whose weights come with the package, if it has one."""

SEED_CARD = "osnet"

_DRAWN = {"identities": 24, "cameras": 3, "images_per_camera": 3, "seed": 20_261, "train_fraction": 0.01}
"""People whom no weights were trained on: training takes other seeds."""


def add_to(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.command("demo")(demo)


@with_fetch_options
def demo(
    model: Annotated[
        Optional[str],
        typer.Option("--model", "-m", help="An alias, a hub uid, a card (.md) or weights (.ckpt .pth ...)."),
    ] = None,
    report: Annotated[
        Optional[Path],
        typer.Option("--report", metavar="DIR", help="Write report.html to this folder."),
    ] = None,
    *,
    fetch: dict[str, Any],
) -> None:
    """Draw people as three cameras see them, search for them with a model, and print how well that works."""
    from osnet.hub.catalog import aliases
    from osnet.models.load import read_weights

    if report:
        from osnet.report.report import prepare_folder

        prepare_folder(report)
    chosen = model or (BUILT_IN if BUILT_IN in aliases() else SEED_CARD)
    say(f"1  Weights: {chosen}")
    try:
        weights = read_weights(chosen, **fetch)
    except DownloadError as error:
        raise DownloadError(
            f"the weights of {chosen!r} cannot be fetched: give a file (osnet demo --model PATH, make demo MODEL=PATH) "
            f"or a mirror (OSNET_MIRROR=URL make demo). Reason: {error}"
        ) from error
    say(f"   {weights.variant.name}, SHA-256 {(weights.sha256 or 'unknown')[:16]}..., all parameters there")
    with tempfile.TemporaryDirectory(prefix="osnet-demo-") as folder:
        _run(chosen, weights, Path(folder) / "drawn", report)


def _run(model: str, weights: "Weights", data: Path, report: Optional[Path]) -> None:
    from osnet.drawn.dataset import draw_dataset
    from osnet.evaluation.evaluate import evaluate

    start = time.perf_counter()
    drawn = draw_dataset(data, **_DRAWN)  # type: ignore[arg-type]
    say(f"2  Drawn in {time.perf_counter() - start:.1f} s: {drawn.query} queries, a gallery of {drawn.gallery}")
    start = time.perf_counter()
    found = evaluate(weights, data, cache=False)
    say(f"3  Embedded and ranked in {time.perf_counter() - start:.1f} s, {found.precision} by {found.backend}")
    row: dict[str, Any] = {**found.to_dict(), "model": model, "data": "drawn people"}
    say()
    print_table([{**row, "claim": None}])
    say("Figures in %; Rank-k is CMC at k.")
    say()
    if report:
        from osnet.report.report import write_report

        say(f"4  Report: {write_report(found, report, title='osnet demo: drawn people')}")
    if _trained_on_drawings(model, weights):
        say(
            f"{model} was trained on drawings: it knows drawn people only. For photos take a published checkpoint: "
            "osnet_msmt17 was trained on the most people and cameras (osnet demo --model osnet_msmt17)."
        )
    else:
        say("These people are drawn and the weights were made for photos: the figures show that it runs, no more.")
    say("Your own data:  osnet eval --model MODEL --data DATA --report report/")
    if not report:
        say("Look at it:     osnet demo --report report/")


def _trained_on_drawings(model: str, weights: "Weights") -> bool:
    from osnet.hub.catalog import list_cards

    if model == BUILT_IN:
        return True
    return any(card.checkpoint.sha256 == weights.sha256 and "drawn" in card.dataset.lower() for card in list_cards())
