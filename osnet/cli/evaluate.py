"""``osnet eval`` and ``osnet doctor``: evaluate models on data sets, and check a data set."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from osnet.cli.options import (
    AsJson,
    Backend,
    Device,
    Flip,
    Input,
    Precision,
    Size,
    print_columns,
    print_json,
    read_size,
    say,
    with_fetch_options,
)
from osnet.errors import OptionError, OsnetError
from osnet.escaping import text_of_name
from osnet.progress import Progress

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
        "--model",
        "-m",
        help="An alias, a hub uid, a card (.md), weights (.ckpt .pth ...) or an exported network (.onnx .xml); may be "
        "repeated.",
    ),
]
Data = Annotated[
    Optional[list[str]],
    typer.Option("--data", "-d", help="Folder or table of a data set; may be repeated.", show_default=False),
]
Protocol = Annotated[
    Optional[str],
    typer.Option(
        help="market1501, cuhk03, camera-blind, or reassociation for video; default: the usual one of the data set."
    ),
]


def add_to(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.command("eval")(evaluate)
    app.command("doctor")(doctor)


@with_fetch_options
def evaluate(
    data: Data = None,
    model: Models = None,
    dataset: Layout = "auto",
    metric: Annotated[str, typer.Option(help="cosine or euclidean (squared).")] = "cosine",
    protocol: Protocol = None,
    rerank: Annotated[bool, typer.Option("--rerank", help="k-reciprocal re-ranking (Zhong et al., 2017).")] = False,
    k1: Annotated[int, typer.Option(help="Re-ranking: number of nearest neighbours that must be mutual.")] = 20,
    k2: Annotated[int, typer.Option(help="Re-ranking: number of nearest images to average; 1 for none.")] = 6,
    lambda_value: Annotated[
        float, typer.Option("--lambda", help="Re-ranking: weight of the plain distance, 0 to 1.")
    ] = 0.3,
    flip: Flip = False,
    pool: Annotated[Optional[str], typer.Option(help="mean: average the features of each tracklet.")] = None,
    distractors: Annotated[
        bool, typer.Option("--distractors", help="Add the 500,000 distractors of Market-1501.")
    ] = False,
    backend: Backend = "auto",
    device: Device = "auto",
    precision: Precision = "auto",
    size: Size = None,
    input: Input = None,
    seed: Annotated[int, typer.Option(help="Seed of randomly drawn query and gallery splits.")] = 0,
    thresholds: Annotated[
        bool,
        typer.Option("--thresholds", help="Print thresholds: for two images of one person, and for unenrolled people."),
    ] = False,
    calibrate: Annotated[
        Optional[Path], typer.Option("--calibrate", metavar="FILE", help="Write the thresholds to a JSON file.")
    ] = None,
    report: Annotated[
        Optional[Path],
        typer.Option("--report", metavar="DIR", help="Write report.html and its pictures to this folder."),
    ] = None,
    cache: Annotated[bool, typer.Option("--cache/--no-cache", help="Use and keep computed features.")] = True,
    features: Annotated[
        Optional[list[str]],
        typer.Option(
            "--features",
            metavar="PATH",
            help="Instead of --data: output of osnet embed; images are opened for --report only.",
        ),
    ] = None,
    gaps: Annotated[
        Optional[str],
        typer.Option(help="Reassociation: frames (1,5,10,30, the default) or seconds (0.5s,2s) to the later frame."),
    ] = None,
    stride: Annotated[
        Optional[int], typer.Option(help="Reassociation: queries are in frames that this divides; default 10.")
    ] = None,
    min_visibility: Annotated[
        Optional[float], typer.Option(help="Reassociation: leave out people who are less visible, 0 to 1; default 0.")
    ] = None,
    *,
    fetch: dict[str, Any],
    as_json: AsJson = False,
) -> None:
    """Measure mAP, CMC and mINP of every model on every data set.

    The quick part of `osnet doctor` runs first. An image that cannot be read is named and left out. The figure that a
    card claims is printed beside the measured one.
    """
    from osnet.evaluation.embedded import evaluate_features
    from osnet.evaluation.evaluate import evaluate_all

    if bool(data) == bool(features):
        raise OptionError("expected either --data or --features: what to evaluate on")
    needs_images = {
        "--model": model, "--dataset": dataset != "auto", "--flip": flip, "--distractors": distractors,
        "--backend": backend != "auto", "--device": device != "auto", "--precision": precision != "auto",
        "--size": size, "--input": input,
    }  # fmt: skip
    for name, used in needs_images.items():
        if features and used:
            raise OptionError(f"{name} does not go with --features, which are evaluated as they were embedded")
    models = model or ["osnet"]
    data = data or []
    of_video = {"--gaps": gaps, "--stride": stride, "--min-visibility": min_visibility}
    if protocol == "reassociation":
        from osnet.cli.reassociation import evaluate_sequences

        not_of_video: dict[str, Any] = {
            "--features": features, "--dataset": dataset != "auto", "--rerank": rerank, "--pool": pool,
            "--distractors": distractors, "--thresholds": thresholds, "--calibrate": calibrate,
        }  # fmt: skip
        for name, is_given in not_of_video.items():
            if is_given:
                raise OptionError(f"{name} does not go with --protocol reassociation")
        how_embedded = {
            "backend": backend, "device": device, "precision": precision, "size": read_size(size), "input": input,
            "flip": flip, **fetch,
        }  # fmt: skip
        given = {
            key: value for key, value in (("stride", stride), ("min_visibility", min_visibility)) if value is not None
        }
        evaluate_sequences(models, data, gaps, metric, report, given, how_embedded, as_json)
        return
    for name, value in of_video.items():
        if value is not None:
            raise OptionError(f"{name} is for --protocol reassociation")
    if calibrate and max(len(models), len(data), len(features or ())) > 1:
        raise OptionError("--calibrate needs one model and one data set: thresholds belong to one checkpoint")
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
    many = len(models) * len(data) > 1 or len(features or ()) > 1
    results: list[dict[str, Any]] = []
    named: set[str] = set()
    finished: list[tuple[Evaluation, dict[str, Any]]] = []
    try:
        with Progress("embedding", "images") as progress:
            how: dict[str, Any] = {
                "metric": metric, "protocol": protocol, "rerank": rerank, "k1": k1, "k2": k2,
                "lambda_value": lambda_value, "pool": pool, "seed": seed,
            }  # fmt: skip
            found = (
                (evaluate_features(path, **how) for path in features)
                if features
                else evaluate_all(
                    models, data, dataset=dataset, flip=flip, backend=backend, device=device, precision=precision,
                    size=chosen, input=input, distractors=distractors, cache=cache, progress=progress, **how, **fetch,
                )
            )  # fmt: skip
            for result in found:
                row = result.to_dict(thresholds=thresholds or calibrate is not None or report is not None)
                results.append(row)
                for message in result.left_out:
                    if message not in named:
                        named.add(message)
                        say(f"osnet: left out: {message}", err=True)
                if calibrate:
                    row["calibration"] = str(calibrate)
                if report:
                    row["report"] = str((report / f"{len(results)}" if many else report) / "report.html")
                if calibrate or report:
                    finished.append((result, row))
    finally:  # figures are printed even if a later step fails
        if results and as_json:
            print_json({"results": results})
        elif results:
            print_table(results)
            if thresholds or calibrate:
                print_thresholds(results)
            print_notes(results)
    report_of = partial(_write_report, pictures_may_be_missing=bool(features))
    for result, row in finished:
        for what, write in (("calibration", _write_calibration), ("report", report_of)):
            if what in row:
                write(result, Path(row[what]))
                if not as_json:
                    say(f"- {what}: {row[what]}")


def doctor(
    data: Annotated[str, typer.Argument(help="Folder or table of a data set.")],
    dataset: Layout = "auto",
    quick: Annotated[bool, typer.Option("--quick", help="Skip the checks that open images.")] = False,
    use: Annotated[str, typer.Option("--for", help="Check for this purpose: evaluate or train.")] = "evaluate",
    seed: Annotated[int, typer.Option(help="Seed of randomly drawn query and gallery splits.")] = 0,
    as_json: AsJson = False,
) -> int:
    """Check a data set for evaluation or training. The exit code is 1 if a result would be meaningless."""
    from osnet.data.doctor import examine

    report = examine(data, dataset=dataset, quick=quick, use=use, seed=seed, progress=True)
    if as_json:
        print_json(report.to_dict())
        return 0 if report.ok else 1
    if report.layout:
        say(f"{report.data}: {report.layout}, protocol {report.protocol}")
        names = ("images", "persons", "cameras", "distractors", "junk")
        print_columns(
            ("split", *names),
            [(split, *(f"{counts[name]:,}" for name in names)) for split, counts in report.counts.items()],
        )
    for finding in report.findings:
        say(f"{finding.severity:<7}  {finding.code}: {finding.message}")
    errors = len(report.errors)
    verdict = f"{errors} error{'s' * (errors != 1)}: do not {use} on this data set" if errors else f"ready to {use} on"
    say(verdict + (" (images were not opened)" if quick and not errors else ""))
    return 0 if report.ok else 1


def _write_calibration(result: "Evaluation", path: Path) -> None:
    from osnet.evaluation.calibration import calibrate, write_calibration

    if not result.sha256:
        raise OptionError("--calibrate needs weights from a file: the thresholds are stored with its SHA-256")
    write_calibration(
        path,
        calibrate(
            result.verification,
            checkpoint_sha256=result.sha256,
            data=[text_of_name(str(result.data.root))],
            flip=result.flip,
            pool=result.pool,
            backend=result.backend,
            precision=result.precision,
        ),
    )


def _write_report(result: "Evaluation", page: Path, *, pictures_may_be_missing: bool) -> None:
    from osnet.report.report import write_report

    try:
        write_report(result, page.parent, pictures_may_be_missing=pictures_may_be_missing)
    except (OsnetError, OSError):
        raise
    except Exception as error:  # matplotlib, scikit-learn and jinja2 raise many types
        raise OsnetError(
            f"the figures above are valid, but {page} could not be made: {type(error).__name__}: {error}"
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
    print_columns(heads[:shown], [row[:shown] for row in rows])


def print_thresholds(results: list[dict[str, Any]]) -> None:
    """Print the thresholds of the results that have them."""
    from osnet.evaluation.evaluate import last_part

    for row in results:
        pairs, unenrolled = row.get("verification"), row.get("open_set")
        if pairs:
            say()
            say(
                f"{last_part(row['model'])} on {last_part(row['data'])}: threshold for two images of one person;"
                f" equal error rate {_percent(pairs['eer'])} % at {pairs['eer_threshold']:.3f}"
            )
            heads = ("false positive rate", "similarity", "true positives", "non-matching pairs", "")
            _print_points(heads, pairs["operating_points"], "fpr", "tpr", "impostor_pairs")
        if unenrolled:
            say()
            say("Threshold for identifying a query, with unenrolled people among the queries:")
            heads = ("false alarm rate", "similarity", "identified (DIR)", "unenrolled queries", "")
            _print_points(heads, unenrolled["alarm_points"], "far", "dir", "unenrolled")


def _print_points(heads: tuple[str, ...], points: list[dict[str, Any]], rate: str, fraction: str, trials: str) -> None:
    from osnet.evaluation.verification import reliability

    rows = []
    for point in points:
        figures = (
            f"{point[rate]:g}",
            f"{point['threshold']:.3f}",
            f"{_percent(point[fraction])} %",
            f"{point[trials]:,}",
        )
        rows.append((*figures, _RELIABILITY[reliability(point[rate], point[trials])]))
    print_columns(heads, rows)


_RELIABILITY = {"good": "", "rough": "rough: few", "unreliable": "unreliable: too few"}


def print_notes(results: list[dict[str, Any]]) -> None:
    """Print how the figures were measured, what the cards claim, and warnings."""
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
            notes.append(f"{claim['text']} is the claim of {claim['card']}; not compared: {claim['not_comparable']}")
        if claim and claim["others"]:
            more = ", ".join(f"{other['text']} ({other['card']})" for other in claim["others"])
            notes.append(f"the same file as {claim['card']} is also published with another claim: {more}")
        notes += [f"{last_part(row['data'])}: {finding}" for finding in row["findings"]]
    for note in dict.fromkeys(notes):
        say(f"- {note}")


def _percent(fraction: Optional[float]) -> str:
    return "-" if fraction is None else f"{100 * fraction:.1f}"
