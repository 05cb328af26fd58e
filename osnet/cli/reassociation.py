"""``osnet eval --protocol reassociation``: models on sequences in MOT format."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

from osnet.cli.options import print_columns, print_json, say
from osnet.progress import Progress


def evaluate_sequences(
    models: Sequence[str],
    data: Sequence[str],
    gaps: Optional[str],
    metric: str,
    report: Optional[Path],
    given: dict[str, Any],
    embedder: dict[str, Any],
    as_json: bool,
) -> None:
    """Print the figures of each model on each data set, and write the pages.

    Args:
        models, data, metric, report, as_json: of the command.
        gaps: as `parse_gaps`; None for the usual ones.
        given: ``stride`` and ``min_visibility``, where they are given.
        embedder: keywords of `osnet.Embedder`.
    """
    from osnet.evaluation.evaluate import last_part
    from osnet.evaluation.films import evaluate_films, parse_gaps
    from osnet.report.reassociation import FEW, about, figures, write_page

    settings = {**given, **({"gaps": parse_gaps(gaps, "--gaps")} if gaps is not None else {})}
    if report:
        from osnet.report.report import prepare_folder

        prepare_folder(report)
    many = len(models) * len(data) > 1
    results: list[dict[str, Any]] = []
    try:
        for model in models:
            for place in data:
                with Progress("embedding", "boxes") as progress:
                    found = evaluate_films(
                        model, place, metric=metric, progress=progress, **settings, **embedder,
                    )  # fmt: skip
                results.append(found.to_dict())
                for reason in found.left_out:
                    say(f"osnet: left out: {reason}", err=True)
                if report:
                    page = write_page(found, report / f"{len(results)}" if many else report)
                    results[-1]["report"] = str(page)
                if not as_json:
                    say(f"{last_part(found.model)} on {last_part(found.data)}: {about(found)} Figures in %.")
                    heads, rows = figures(found)
                    print_columns(heads, rows)
                    if any(cell.endswith("*") for row in rows for cell in row):
                        say(FEW)
                    if report:
                        say(f"- report: {page}")
    finally:
        if results and as_json:
            print_json({"results": results})
