"""``osnet gallery link``: tracks of several cameras → persons."""

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from osnet.cli.options import AsJson, Calibration, Fpr, Overwrite, print_json, say
from osnet.errors import OptionError


def link(
    features: Annotated[
        list[Path],
        typer.Argument(
            metavar="FEATURES...",
            help="Feature files or folders of osnet embed. Without a column camera each is one camera.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Table to write: .csv, .parquet or .json.")],
    threshold: Annotated[
        Optional[float],
        typer.Option("--threshold", "-t", help="Mean cosine similarity of tracks of one person, -1 to 1."),
    ] = None,
    calibration: Calibration = None,
    fpr: Fpr = None,
    track: Annotated[
        Optional[str], typer.Option(metavar="COLUMN", help="Column of tracks; default: track, else person.")
    ] = None,
    fps: Annotated[
        Optional[float], typer.Option(help="Frames in a second, for features without a column time.")
    ] = None,
    split: Annotated[
        Optional[float],
        typer.Option(metavar="SECONDS", help="After a pause this long the same number is another track."),
    ] = None,
    overlapping: Annotated[
        Optional[list[str]],
        typer.Option(metavar="A,B", help="Two cameras whose views overlap, or: all. May be repeated."),
    ] = None,
    travel: Annotated[
        Optional[list[str]],
        typer.Option(
            metavar="A,B,LEAST,GREATEST",
            help="Seconds from camera A to B, also from B to A unless given; GREATEST may be inf. May be repeated.",
        ),
    ] = None,
    score: Annotated[
        bool, typer.Option("--score", help="Compute IDF1: the column person has the true persons.")
    ] = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Find out which tracks of several cameras show one person.

    The table has a row for each image, with its identity: a number from 0, in order of appearance. One person is in one
    place at a time: tracks that overlap in time are different persons, unless the views of their cameras overlap.
    """
    from osnet.evaluation.feature_tables import check_output, choose_threshold
    from osnet.evaluation.linking import Pairs
    from osnet.files import refuse_existing
    from osnet.gallery.link_files import link_features, read_tracks, write_links

    target = check_output(out)
    if not overwrite:
        refuse_existing(target)
    views: Pairs = "all" if overlapping == ["all"] else [_pair(text) for text in overlapping or ()]
    bounds = dict(_bounds(text) for text in travel or ())
    rows = read_tracks(features)
    chosen = choose_threshold(rows.signature, threshold=threshold, calibration=calibration, fpr=fpr)
    links = link_features(
        rows, chosen, track=track, score=score, fps=fps, split=split, overlapping=views, travel=bounds
    )  # fmt: skip
    write_links(links, out, overwrite=overwrite)
    about = {"out": str(out), **links.to_dict()}
    if as_json:
        print_json(about)
    else:
        _print(about)


def _pair(text: str) -> tuple[str, str]:
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 2:
        raise OptionError(f"--overlapping: expected two cameras, such as north,south, or all, got {text!r:.80}")
    return parts[0], parts[1]


def _bounds(text: str) -> tuple[tuple[str, str], tuple[float, float]]:
    parts = [part.strip() for part in text.split(",")]
    try:
        one, other, least, greatest = parts
        return (one, other), (float(least), float(greatest))
    except ValueError:
        raise OptionError(
            f"--travel: expected two cameras and the least and greatest seconds, such as north,south,10,60, got "
            f"{text!r:.80}"
        ) from None


def _print(about: dict[str, Any]) -> None:
    say(
        f"{about['out']}: {about['rows']:,} rows in {about['tracks']:,} tracks of {about['cameras']:,} cameras; "
        f"persons: {about['identities']:,}, of them in several cameras: {about['in_several_cameras']:,} "
        f"(similarity of {about['threshold']:.3f} or more)"
    )
    scores = about["scores"]
    if scores:
        say(
            f"- IDF1 {100 * scores['idf1']:.1f} %: {scores['right']:,} of {scores['rows']:,} rows, of "
            f"{scores['persons']:,} persons"
        )
