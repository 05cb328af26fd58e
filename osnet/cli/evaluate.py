"""``osnet eval`` and ``osnet doctor``: how good a model is on a data set, and whether the set can tell."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from osnet.cli.options import (
    AllowHost,
    AllowHttp,
    AsJson,
    CacheDir,
    Mirror,
    Offline,
    Size,
    Timeout,
    fetch_keywords,
    print_json,
    read_size,
    say,
)
from osnet.errors import OptionError, OsnetError
from osnet.escaping import printable, text_of_name

if TYPE_CHECKING:
    from osnet.evaluation.evaluate import Evaluation

Layout = Annotated[
    str,
    typer.Option(
        "--dataset",
        help="auto, market1501, dukemtmcreid, msmt17, cuhk03, cuhk03-labeled, folder, csv or parquet.",
    ),
]
Models = Annotated[
    Optional[list[str]],
    typer.Option(
        "--model", "-m", help="An alias, a hub uid, a card (.md) or weights (.ckpt .pth ...); may be repeated."
    ),
]
Data = Annotated[
    list[str], typer.Option("--data", "-d", help="Folder or table of a data set; may be repeated.", show_default=False)
]
Protocol = Annotated[
    Optional[str], typer.Option(help="market1501, cuhk03 or camera-blind; default: what is usual for the data set.")
]


def add_to(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.command("eval")(evaluate)
    app.command("doctor")(doctor)


def evaluate(
    data: Data,
    model: Models = None,
    dataset: Layout = "auto",
    metric: Annotated[str, typer.Option(help="cosine or euclidean (squared).")] = "cosine",
    protocol: Protocol = None,
    rerank: Annotated[bool, typer.Option("--rerank", help="k-reciprocal re-ranking (Zhong et al., 2017).")] = False,
    k1: Annotated[int, typer.Option(help="Re-ranking: neighbours within which images must find each other.")] = 20,
    k2: Annotated[int, typer.Option(help="Re-ranking: nearest images that are averaged; 1 for none.")] = 6,
    lambda_value: Annotated[
        float, typer.Option("--lambda", help="Re-ranking: weight of the plain distance, 0 to 1.")
    ] = 0.3,
    flip: Annotated[bool, typer.Option("--flip", help="Average with the mirror image; twice the work.")] = False,
    pool: Annotated[Optional[str], typer.Option(help="mean: one feature for each tracklet.")] = None,
    distractors: Annotated[bool, typer.Option("--distractors", help="Add Market-1501's 500,000.")] = False,
    backend: Annotated[str, typer.Option(help="auto (openvino), openvino or mindspore.")] = "auto",
    precision: Annotated[
        str, typer.Option(help="auto (fp32), fp32, bf16, or fast: bf16 where the processor has it.")
    ] = "auto",
    size: Size = None,
    seed: Annotated[int, typer.Option(help="Of drawn query and gallery splits.")] = 0,
    thresholds: Annotated[
        bool, typer.Option("--thresholds", help="Thresholds too: for two images to be one person, and for strangers.")
    ] = False,
    calibrate: Annotated[
        Optional[Path], typer.Option("--calibrate", metavar="FILE", help="Write the thresholds to a JSON file.")
    ] = None,
    report: Annotated[
        Optional[Path], typer.Option("--report", metavar="DIR", help="Write report.html and its pictures there.")
    ] = None,
    cache: Annotated[bool, typer.Option("--cache/--no-cache", help="Keep features, and use those kept.")] = True,
    cache_dir: CacheDir = None,
    offline: Offline = None,
    mirror: Mirror = None,
    allow_host: AllowHost = None,
    allow_http: AllowHttp = None,
    timeout: Timeout = None,
    as_json: AsJson = False,
) -> None:
    """Rank each query of a data set: mAP, CMC and mINP of every model on every data set.

    The quick part of `osnet doctor` runs first. An image that cannot be read is named and left out. A card's claim
    stands beside the measured figure.
    """
    from tqdm import tqdm

    from osnet.evaluation.evaluate import evaluate_all

    models = model or ["osnet"]
    if calibrate and (len(models) > 1 or len(data) > 1):
        raise OptionError("--calibrate wants one model and one data set: thresholds are of one checkpoint")
    if calibrate and size:
        raise OptionError("--calibrate takes no --size: thresholds are of the size that the checkpoint was trained at")
    if calibrate and calibrate.is_dir():
        raise OptionError(f"--calibrate {calibrate} is a folder; name a file, such as {calibrate / 'thresholds.json'}")
    if calibrate and not calibrate.absolute().parent.is_dir():
        raise OptionError(f"--calibrate {calibrate}: the folder {calibrate.absolute().parent} does not exist; make it")
    if report:
        from osnet.report.report import prepare_folder

        prepare_folder(report)
    chosen = read_size(size)
    many = len(models) * len(data) > 1
    results: list[dict[str, Any]] = []
    named: set[str] = set()
    finished: list[tuple[Evaluation, dict[str, Any]]] = []
    try:
        with tqdm(unit="img", disable=not sys.stderr.isatty(), delay=1, leave=False) as bar:

            def show(done: int, total: int) -> None:
                if done < bar.n or bar.total != total:
                    bar.reset(total)
                bar.update(done - bar.n)

            for result in evaluate_all(
                models, data, dataset=dataset, metric=metric, protocol=protocol, rerank=rerank, k1=k1, k2=k2,
                lambda_value=lambda_value, flip=flip, pool=pool, backend=backend, precision=precision, size=chosen,
                distractors=distractors, seed=seed, cache=cache, progress=show,
                **fetch_keywords(cache_dir, offline, mirror, allow_host, allow_http, timeout),
            ):  # fmt: skip
                row = result.to_dict(thresholds=thresholds or calibrate is not None or report is not None)
                results.append(row)
                for message in result.left_out:
                    if message not in named:
                        named.add(message)
                        bar.write(printable(f"osnet: left out: {message}"), file=sys.stderr)
                if calibrate:
                    row["calibration"] = str(calibrate)
                if report:
                    row["report"] = str((report / f"{len(results)}" if many else report) / "report.html")
                if calibrate or report:
                    finished.append((result, row))
    finally:  # figures that are there are shown, whatever comes after them
        if results and as_json:
            print_json({"results": results})
        elif results:
            print_table(results)
            if thresholds or calibrate:
                print_thresholds(results)
            print_notes(results)
    for result, row in finished:
        for what, write in (("calibration", _write_calibration), ("report", _write_report)):
            if what in row:
                write(result, Path(row[what]))
                if not as_json:
                    say(f"- {what}: {row[what]}")


def doctor(
    data: Annotated[str, typer.Argument(help="Folder or table of a data set.")],
    dataset: Layout = "auto",
    quick: Annotated[bool, typer.Option("--quick", help="Open no image.")] = False,
    use: Annotated[str, typer.Option("--for", help="What it must be good for: evaluate or train.")] = "evaluate",
    seed: Annotated[int, typer.Option(help="Of drawn query and gallery splits.")] = 0,
    as_json: AsJson = False,
) -> int:
    """Say what is wrong with a data set. Exit code 1 on what would make a result meaningless."""
    from osnet.data.doctor import examine

    report = examine(data, dataset=dataset, quick=quick, use=use, seed=seed, progress=sys.stderr.isatty())
    if as_json:
        print_json(report.to_dict())
        return 0 if report.ok else 1
    if report.layout:
        say(f"{report.data}: {report.layout}, protocol {report.protocol}")
        names = ("images", "persons", "cameras", "distractors", "junk")
        _print_columns(
            ("split", *names),
            [(split, *(f"{counts[name]:,}" for name in names)) for split, counts in report.counts.items()],
        )
    for finding in report.findings:
        say(f"{finding.severity:<7}  {finding.code}: {finding.message}")
    errors = len(report.errors)
    verdict = f"{errors} error{'s' * (errors != 1)}: do not {use} on this" if errors else "good to " + use + " on"
    say(verdict + (" as far as can be seen without opening images" if quick and not errors else ""))
    return 0 if report.ok else 1


def _write_calibration(result: "Evaluation", path: Path) -> None:
    from osnet.evaluation.calibration import calibrate, write_calibration

    if not result.weights.sha256:
        raise OptionError(
            "--calibrate wants weights from a file: without a SHA-256 nobody knows whose thresholds these are"
        )
    write_calibration(
        path,
        calibrate(
            result.verification,
            checkpoint_sha256=result.weights.sha256,
            data=[text_of_name(str(result.data.root))],
            flip=result.flip,
            pool=result.pool,
            backend=result.backend,
            precision=result.precision,
        ),
    )


def _write_report(result: "Evaluation", page: Path) -> None:
    from osnet.report.report import write_report

    try:
        write_report(result, page.parent)
    except (OsnetError, OSError):
        raise
    except Exception as error:  # matplotlib, scikit-learn and jinja2 raise what they like
        raise OsnetError(
            f"the figures above stand, but {page} could not be made: {type(error).__name__}: {error}"
        ) from error


def print_table(results: list[dict[str, Any]]) -> None:
    """One line for each pair of a model and a data set, figures in percent."""
    from osnet.evaluation.evaluate import last_part

    rows = []
    for row in results:
        claim = row["claim"] or {}
        difference = claim.get("difference")
        rows.append(
            (
                last_part(row["model"]),
                last_part(row["data"]),
                _percent(row["mAP"]),
                *(_percent(row["cmc"].get(k)) for k in ("1", "5", "10", "20")),
                _percent(row["mINP"]),
                f"{row['valid_queries']:,}",
                claim.get("text", "-"),
                "-" if difference is None else f"{100 * difference:+.1f}",
            )
        )
    heads = ("model", "data", "mAP", "Rank-1", "Rank-5", "Rank-10", "Rank-20", "mINP", "queries", "claimed", "diff")
    shown = len(heads) if any(row["claim"] for row in results) else -2
    _print_columns(heads[:shown], [row[:shown] for row in rows])


def print_thresholds(results: list[dict[str, Any]]) -> None:
    """Operating points of the results that have them."""
    from osnet.evaluation.evaluate import last_part

    for row in results:
        pairs, strangers = row.get("verification"), row.get("open_set")
        if pairs:
            say()
            say(
                f"{last_part(row['model'])} on {last_part(row['data'])}: one person from which similarity on?"
                f"  equal error rate {_percent(pairs['eer'])} % at {pairs['eer_threshold']:.3f}"
            )
            heads = ("wrongly accepted", "similarity", "rightly accepted", "different pairs", "")
            _print_points(heads, pairs["operating_points"], "fpr", "tpr", "impostor_pairs")
        if strangers:
            say()
            say("Strangers turned away: the best answer counts from which similarity on?")
            heads = ("false alarms", "similarity", "found (DIR)", "strangers", "")
            _print_points(heads, strangers["alarm_points"], "far", "dir", "strangers")


def _print_points(heads: tuple[str, ...], points: list[dict[str, Any]], rate: str, share: str, trials: str) -> None:
    rows = []
    for point in points:
        figures = (f"{point[rate]:g}", f"{point['threshold']:.3f}", f"{_percent(point[share])} %", f"{point[trials]:,}")
        rows.append((*figures, _doubt(point)))
    _print_columns(heads, rows)


def _doubt(point: dict[str, Any]) -> str:
    if not point["warning"]:
        return ""
    return "says nothing: too few" if "says nothing" in point["warning"] else "rough: few"


def print_notes(results: list[dict[str, Any]]) -> None:
    """What a reader of the table must know: how it was done, the cards' claims, doubts."""
    from osnet.evaluation.evaluate import last_part

    first = results[0]
    how = [f"protocol {name}" for name in dict.fromkeys(row["protocol"] for row in results)]
    how.append(f"{first['metric']} distance")
    if first["rerank"]:
        how.append("rerank (k1 {k1}, k2 {k2}, lambda {lambda})".format_map(first["rerank_settings"]))
    how += ["flip"] if first["flip"] else []
    how += [f"images of {size}" for size in dict.fromkeys(row["size"] for row in results)]
    how += [f"tracklets pooled by {first['pool']}"] if first["pool"] else []
    say()
    say(f"{', '.join(how)}, {first['precision']} by {first['backend']}. Rank-k is CMC at k. Figures in %.")
    notes = []
    for row in results:
        claim = row["claim"]
        if claim and claim["not_comparable"]:
            notes.append(f"{claim['text']} is what {claim['card']} claims; no difference: {claim['not_comparable']}")
        if claim and claim["others"]:
            more = ", ".join(f"{other['text']} ({other['card']})" for other in claim["others"])
            notes.append(f"the same bytes as {claim['card']} are published with another claim too: {more}")
        notes += [f"{last_part(row['data'])}: {finding}" for finding in row["findings"]]
    for note in dict.fromkeys(notes):
        say(f"- {note}")


def _percent(share: Optional[float]) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def _print_columns(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """A plain table: text to the left, figures to the right."""
    table = [heads, *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in table) for i in range(len(heads))]
    left = [not any(row[i][:1].isdigit() for row in rows) for i in range(len(heads))]
    for row in table:
        cells = (cell.ljust(w) if to_left else cell.rjust(w) for cell, w, to_left in zip(row, widths, left))
        say("  ".join(cells).rstrip())
