"""Write the report of an evaluation: one self-contained HTML file, and its charts as PNG files."""

from __future__ import annotations

import base64
import importlib
import io
import os
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from osnet._version import __version__
from osnet.data.records import DISTRACTOR
from osnet.errors import DataError, DependencyError, DiskError
from osnet.escaping import text_of_name
from osnet.evaluation.evaluate import last_part
from osnet.evaluation.verification import FALSE_POSITIVE_RATES
from osnet.files import atomic_write
from osnet.report import activation, charts
from osnet.report.identity_map import identity_map
from osnet.report.matches import MATCH, NON_MATCH, by_difficulty, confusions, ranked_lists
from osnet.report.pictures import Pictures
from osnet.variants import size_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL import Image

    from osnet.data.records import Record
    from osnet.evaluation.evaluate import Evaluation
    from osnet.evaluation.verification import OperatingPoint, Verification

FILE = "report.html"
_TEMPLATE = Path(__file__).with_name("report.html.jinja")
_NEEDS = ("jinja2", "matplotlib", "sklearn")


def prepare_folder(folder: str | os.PathLike[str]) -> Path:
    """Make `folder` for a report, and check that a report can be written before anything is computed.

    Raises:
        DependencyError: a package of the extra ``eval`` is missing.
        DiskError: the folder cannot be made or written to.
    """
    try:
        for name in _NEEDS:
            importlib.import_module(name)
    except ImportError as error:
        raise DependencyError(f'a report needs {error.name} ({error}): pip install "osnet[eval]"') from error
    made = Path(folder)
    try:
        made.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=made):
            pass
    except OSError as error:
        raise DiskError(
            f"cannot write a report into {str(made)!r}: {error.strerror or error}; use another folder"
        ) from error
    return made


def write_report(
    evaluation: Evaluation,
    folder: str | os.PathLike[str],
    *,
    lists: int = 4,
    list_length: int = 10,
    fpr: float | None = None,
    title: str | None = None,
    pictures_may_be_missing: bool = False,
) -> Path:
    """Write ``report.html`` and its PNG files into `folder`; files of these names are replaced.

    The time grows with queries times gallery, as ranking does; the pictures show samples.

    Args:
        evaluation: of `osnet.evaluate`.
        lists: number of ranked lists of the best, of the median and of the worst queries.
        list_length: number of images in a ranked list, without those that do not count.
        fpr: false positive rate whose threshold is marked; None for the lowest of 1e-4, 1e-3 and 1e-2 for which the
            data has enough pairs, else 1e-2.
        title: of the page; default: the model and the data set.
        pictures_may_be_missing: leave out pictures of people that cannot be read, as for features that were embedded
            before, and say so on the page.

    Returns:
        The path of the HTML file.

    Raises:
        DependencyError, DiskError: as `prepare_folder`.
        ImageError: an image of the data set cannot be read, and none may be missing.
    """
    root = prepare_folder(folder)
    with Pictures(may_be_missing=pictures_may_be_missing) as people:
        return _written(evaluation, root, lists, list_length, fpr, title, people)


def _written(
    evaluation: Evaluation,
    root: Path,
    lists: int,
    list_length: int,
    fpr: float | None,
    title: str | None,
    people: Pictures,
) -> Path:
    import jinja2

    groups = _groups(by_difficulty(evaluation).tolist(), lists)
    confused = confusions(evaluation)
    pairs, point = _threshold(evaluation, fpr)
    pictures, failed = _pictures(evaluation, groups, confused, pairs, point, people)
    summary = evaluation.to_dict(thresholds=True)
    if not pairs:
        summary["open_set"] = None
    points = [
        *(summary["verification"] or {}).get("operating_points", ()),
        *(summary["open_set"] or {}).get("alarm_points", ()),
    ]
    enrolled = np.isin(evaluation.labels["query_ids"], evaluation.labels["gallery_ids"])
    model, data = last_part(evaluation.model), last_part(str(evaluation.data.root))
    shown_lists = [
        {"name": name, "rows": _rows(evaluation, queries, list_length, people)}
        for name, queries in groups.items()
        if queries
    ]
    shown_confusions = [_confusion(evaluation, query, people) for query in confused]
    if people.missing:
        failed.append(f"{people.missing} pictures of people cannot be shown, such as the first: {people.reason}")
    # Everything is escaped: names of files and people come from the data.
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.globals["percent"] = lambda fraction: f"{100 * fraction:.1f}"
    html = environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        title=title or f"{model} on {data}: re-identification report",
        version=__version__,
        model=model,
        data=data,
        with_weights=evaluation.weights is not None,
        summary=summary,
        groups=shown_lists,
        confusions=shown_confusions,
        fooled=int((evaluation.nearest.margin[confused] <= 0).sum()),
        point=point,
        failed=failed,
        warnings=[one["warning"] for one in points if one["warning"]],
        held_out=bool(enrolled.all()),
        pictures={name: _uri(content, "png") if content else "" for name, content in pictures.items()},
        how=_how(evaluation, summary),
    )
    for name, content in pictures.items():
        if content:
            atomic_write(root / f"{name}.png", content)
    atomic_write(root / FILE, text_of_name(html).encode())
    return root / FILE


def _groups(ordered: list[int], lists: int) -> dict[str, list[int]]:
    """Pick the worst, median and best queries, none twice."""
    each = min(lists, max(1, len(ordered) // 3))
    worst, rest = ordered[::-1][:each], ordered[: max(0, len(ordered) - each)]
    best, rest = rest[:each], rest[each:]
    middle = max(0, (len(rest) - each) // 2)
    return {"Worst queries": worst, "Median queries": rest[middle : middle + each], "Best queries": best}


def _threshold(evaluation: Evaluation, fpr: float | None) -> tuple[Verification | None, OperatingPoint | None]:
    try:
        pairs = evaluation.verification
    except DataError:  # no pairs of different people
        return None, None
    if fpr is not None:
        return pairs, pairs.at(fpr)
    points = [pairs.at(rate) for rate in FALSE_POSITIVE_RATES]
    return pairs, next((point for point in points if point.warning is None), points[-1])


def _pictures(
    evaluation: Evaluation,
    groups: dict[str, list[int]],
    confused: Sequence[int],
    pairs: Verification | None,
    point: OperatingPoint | None,
    people: Pictures,
) -> tuple[dict[str, bytes], list[str]]:
    """Draw each chart as PNG (empty if there is nothing to draw), and one line for each that failed."""
    near = evaluation.nearest
    shown = [query for queries in groups.values() for query in queries]
    paths, captions = [], []
    for query in list(dict.fromkeys([*confused, *shown]))[:6]:
        record = evaluation.query[query]
        is_wrong = near.margin[query] <= 0
        place = int((near.non_match_place if is_wrong else near.match_place)[query])
        first = evaluation.gallery[place]
        paths += [record.path, first.path]
        verdict = "rank 1, non-match" if is_wrong else "rank 1, match"
        captions += [f"query\n{_who(evaluation, record)}", f"{verdict}\n{_who(evaluation, first)}"]
    draw: dict[str, Callable[[], Figure | None]] = {
        "cmc": lambda: charts.cmc(evaluation.ranking),
        "roc": lambda: charts.roc(pairs, point) if pairs and point else None,
        "similarities": lambda: charts.similarities(pairs, point) if pairs and point else None,
        "identities": lambda: identity_map(evaluation, [*confused, *shown], people),
        "activation": lambda: (
            activation.draw(evaluation.weights, paths, [*map(text_of_name, captions)], evaluation.size)
            if evaluation.weights
            else None
        ),
    }
    made, failed = dict.fromkeys(draw, b""), []
    for name, figure in draw.items():
        try:
            drawn = figure()
            made[name] = charts.png(drawn) if drawn else b""
        except Exception as error:  # noqa: BLE001, PERF203 - matplotlib, scikit-learn and OpenVINO raise many types
            failed.append(f"{name}.png could not be drawn: {type(error).__name__}: {error}")
            warnings.warn(f"report: {failed[-1]}", stacklevel=3)
    return made, failed


def _rows(evaluation: Evaluation, queries: Sequence[int], count: int, people: Pictures) -> list[dict[str, Any]]:
    """Each query with its ranked list."""
    rows = []
    for query, images in zip(queries, ranked_lists(evaluation, queries, count=count)):
        tiles, left = [], int(evaluation.ranking.matches[query])
        for image in images:  # `left`: matches at this rank or later
            kind = "late" if image.verdict == NON_MATCH and not left else image.verdict.replace(" ", "-")
            above = f"{image.similarity:.2f}" if image.rank is None else f"{image.rank} · {image.similarity:.2f}"
            tiles.append(_tile(evaluation, evaluation.gallery[image.place], kind, above, people))
            left -= image.verdict == MATCH
        precision = f"AP {100 * evaluation.ranking.average_precision[query]:.1f}"
        rows.append({"query": _tile(evaluation, evaluation.query[query], "query", precision, people), "images": tiles})
    return rows


def _confusion(evaluation: Evaluation, query: int, people: Pictures) -> list[dict[str, Any]]:
    """A query, its nearest match and its nearest non-match, the nearer one first."""
    near = evaluation.nearest
    found = [(near.non_match[query], "non-match", near.non_match_place[query])]
    if near.match_place[query] >= 0:
        found.append((near.match[query], "match", near.match_place[query]))
    tiles = [_tile(evaluation, evaluation.query[query], "query", "query", people)]
    features = evaluation.query_features[query]
    for _, kind, place in sorted(found):
        other = evaluation.gallery_features[place]
        similarity = features @ other if evaluation.metric == "cosine" else -np.sum((features - other) ** 2)
        tiles.append(_tile(evaluation, evaluation.gallery[place], kind, f"{similarity:.2f}", people))
    return tiles


def _tile(evaluation: Evaluation, record: Record, kind: str, above: str, people: Pictures) -> dict[str, Any]:
    camera = "" if record.camera is None or record.person == DISTRACTOR else f" c{record.camera}"
    return {
        "kind": kind,
        "picture": _thumbnail(record, people),
        "path": record.path.name,
        "above": above,
        "below": [_who(evaluation, record, cut=11 - len(camera)) + camera],
    }


def _who(evaluation: Evaluation, record: Record, *, cut: int = 24) -> str:
    if record.person < 0:
        return "junk"
    if record.person == DISTRACTOR:
        return "distractor"
    name = evaluation.data.person_names.get(record.person, str(record.person))
    return name if len(name) <= cut else name[: cut - 1] + "…"


def _thumbnail(record: Record, people: Pictures) -> str:
    picture = people.of(record)
    return picture_uri(picture) if picture else ""


def picture_uri(picture: Image.Image) -> str:
    """`picture` as JPEG in a ``data:`` address."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return _uri(buffer.getvalue(), "jpeg")


def _uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _how(evaluation: Evaluation, summary: dict[str, Any]) -> list[tuple[str, str]]:
    settings = evaluation.rerank_settings
    cameras = len({record.camera for record in (*evaluation.query, *evaluation.gallery)} - {None})
    rows = [
        ("model", evaluation.model),
        ("network", evaluation.network),
        ("checkpoint SHA-256", evaluation.sha256 or "none: weights in memory"),
        ("data set", f"{evaluation.data.root} ({evaluation.data.name})"),
        ("images", f"{len(evaluation.query):,} queries, gallery of {len(evaluation.gallery):,}, {cameras} cameras"),
        ("protocol", evaluation.protocol),
        ("distance", "1 - cosine" if evaluation.metric == "cosine" else "squared Euclidean, features not normalised"),
        ("re-ranking", "k-reciprocal, " + ", ".join(f"{k} {v:g}" for k, v in settings.items()) if settings else "none"),
        (
            "features",
            f"{size_text(evaluation.size)}, {evaluation.precision} by {evaluation.backend}"
            + (", with mirror image" if evaluation.flip else ""),
        ),
    ]
    claim = summary["claim"]
    if claim:
        rows.append(("claim", f"{claim['text']} on {claim['dataset']}, by {claim['card']}"))
        rows += [("the same file, also published", f"{other['text']}, by {other['card']}") for other in claim["others"]]
    return rows
