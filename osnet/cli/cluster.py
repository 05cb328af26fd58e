"""``osnet cluster``: files of features → groups of one person."""

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from osnet.cli.options import AsJson, Calibration, Fpr, Overwrite, print_json, say


def add_to(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.command("cluster")(cluster)


def cluster(
    features: Annotated[
        list[Path],
        typer.Argument(metavar="FEATURES...", help="Feature files or folders of osnet embed, made in the same way."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Table to write: .csv, .parquet or .json.")],
    threshold: Annotated[
        Optional[float],
        typer.Option("--threshold", "-t", help="Cosine similarity of images of one person, -1 to 1."),
    ] = None,
    calibration: Calibration = None,
    fpr: Fpr = None,
    method: Annotated[str, typer.Option(help="agglomerative (average linkage) or dbscan.")] = "agglomerative",
    duplicates: Annotated[
        Optional[float], typer.Option(help="Similarity of near-duplicates, -1 to 1; default: 0.98.")
    ] = None,
    sheet: Annotated[
        Optional[Path],
        typer.Option("--sheet", metavar="FILE", help="Write a picture of the largest groups: .jpg or .png."),
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Group images that show one person, and find near-duplicates.

    The table has a row for each image, with its file, its cluster (0 is the largest; -1 is an image alone) and the row
    that it is a near-duplicate of. The groups are scored where persons are known: from a column person of the features,
    or from file names like those of Market-1501.
    """
    from osnet.evaluation.cluster_files import cluster_features, write_clusters
    from osnet.evaluation.clustering import NEAR_DUPLICATE
    from osnet.evaluation.feature_tables import check_output, choose_threshold, read_together
    from osnet.files import refuse_existing

    targets = [check_output(out)]
    if sheet:
        from osnet.report.contact_sheet import check_sheet, write_sheet

        targets.append(check_sheet(sheet))
    if not overwrite:
        for target in targets:
            refuse_existing(target)
    rows = read_together(features)
    chosen = choose_threshold(rows.signature, threshold=threshold, calibration=calibration, fpr=fpr)
    clusters = cluster_features(
        rows,
        chosen,
        method=method,
        duplicate_threshold=NEAR_DUPLICATE if duplicates is None else duplicates,
    )
    write_clusters(clusters, out, overwrite=overwrite)
    about = {"out": str(out), **clusters.to_dict(), "sheet": str(sheet) if sheet else None}
    if as_json:
        print_json(about)
    else:
        _print(about)
    if sheet:
        for message in write_sheet(clusters, sheet, overwrite=overwrite):
            say(f"osnet: left out: {message}", err=True)
        if not as_json:
            say(f"- contact sheet: {sheet}")


def _print(about: dict[str, Any]) -> None:
    say(
        f"{about['out']}: {about['images']:,} images; groups: {about['groups']:,}, images alone: {about['alone']:,}"
        f" ({about['method']}, similarity of {about['threshold']:.3f} or more)"
    )
    say(
        f"- near-duplicates of another image: {about['near_duplicates']:,}"
        f" (similarity of {about['duplicate_threshold']:g} or more)"
    )
    scores = about["scores"]
    if scores:
        say(
            f"- pairwise F1 {100 * scores['f1']:.1f} %: precision {100 * scores['precision']:.1f} %, "
            f"recall {100 * scores['recall']:.1f} %; NMI {100 * scores['nmi']:.1f} %; on {scores['images']:,} images "
            f"of {scores['persons']:,} persons"
        )
