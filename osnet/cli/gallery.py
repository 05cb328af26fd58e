"""``osnet gallery``: people are enrolled, searched and removed."""

import json
import os
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from osnet.cli.gallery_options import (
    Attributes,
    Camera,
    Identity,
    Ids,
    LoadedModel,
    Since,
    Until,
    Where,
    choose_threshold,
    conditions_of,
    holds_features,
    parse_attributes,
)
from osnet.cli.link import link
from osnet.cli.options import (
    AsJson,
    Backend,
    Calibration,
    Device,
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
from osnet.errors import OptionError
from osnet.progress import Progress


def add_to(app: typer.Typer) -> None:
    """Add this group's commands."""
    group = typer.Typer(help="Keep people: enrol, search and remove them.", no_args_is_help=True)
    for name, command in (
        ("create", create), ("add", add), ("search", search), ("remove", remove), ("list", list_entries),
        ("stats", stats), ("export", export), ("import", import_file), ("rebuild", rebuild), ("link", link),
    ):  # fmt: skip
        group.command(name)(command)
    app.add_typer(group, name="gallery")


@with_fetch_options
def create(
    gallery: Where,
    model: Model = "osnet",
    precision: Precision = "auto",
    size: Size = None,
    flip: Flip = False,
    thumbnails: Annotated[
        Optional[str], typer.Option(metavar="HxW", help="Keep a small picture of each entry; default: none.")
    ] = None,
    *,
    fetch: dict[str, Any],
) -> None:
    """Make a new, empty gallery. Its model and settings are fixed: features of others are refused."""
    from osnet.gallery.gallery import Gallery
    from osnet.gallery.thumbnails import parse_thumbnails

    kept = None if thumbnails is None else parse_thumbnails(thumbnails, "--thumbnails")
    with Gallery.create(
        gallery,
        model,
        precision=precision,
        size=read_size(size),
        flip=flip,
        thumbnails=kept,
        **fetch,
    ) as made:
        say(f"{gallery}: an empty gallery for {made.signature.model} in {made.signature.precision}")


@with_fetch_options
def add(
    gallery: Where,
    inputs: Annotated[
        list[Path],
        typer.Argument(metavar="INPUT...", help="Images and folders of them, or features of osnet embed."),
    ],
    identity: Annotated[Optional[str], typer.Option(help="The person on all of them.")] = None,
    labels: Annotated[
        Optional[str], typer.Option(help="Take the person from each file: folder (its name), or market (file name).")
    ] = None,
    camera: Annotated[Optional[str], typer.Option(help="The camera of all of them.")] = None,
    time: Annotated[Optional[str], typer.Option(help="When all of them were taken (ISO 8601).")] = None,
    attribute: Annotated[
        Optional[list[str]],
        typer.Option("--attribute", metavar="NAME=VALUE", help="Attribute of all of them; may be repeated."),
    ] = None,
    model: LoadedModel = None,
    backend: Backend = "auto",
    device: Device = "auto",
    *,
    fetch: dict[str, Any],
    as_json: AsJson = False,
) -> int:
    """Add pictures or features of people. What is there already is not added again."""
    from osnet.checks import check_choice
    from osnet.gallery.enrol import LABELS, add_images
    from osnet.gallery.gallery import Gallery
    from osnet.gallery.transfer import add_features
    from osnet.image_files import find_images, unused

    if labels is not None:
        check_choice("--labels", labels, LABELS)
        if identity is not None:
            raise OptionError("--identity and --labels exclude each other: both tell who is on a picture")
    told = {
        "identity": identity,
        "camera": camera,
        "time": time,
        "attributes": parse_attributes(attribute, "--attribute"),
    }
    features = [path for path in inputs if holds_features(path)]
    images = [path for path in inputs if path not in features]
    with Gallery(gallery, model, backend=backend, device=device, **fetch) as opened:
        before, read, failed = len(opened), 0, 0
        with Progress("adding", "images") as progress:
            for path in features:
                read += add_features(opened, path, labels=labels, progress=progress, **told).read
            if images:
                found = find_images(images)
                if found.others:
                    say(f"osnet: {unused(found.others)}", err=True)
                ids, failed = add_images(
                    opened,
                    found.images,
                    labels=labels,
                    progress=progress,
                    on_failure=_left_out,
                    **told,
                )
                read += len(ids)
        total = len(opened)
    new = total - before
    if as_json:
        print_json({"gallery": gallery, "read": read, "new": new, "failed": failed, "entries": total})
    else:
        say(f"{gallery}: {read:,} read, {new:,} new; entries now: {total:,}")
    return 1 if failed else 0


@with_fetch_options
def search(
    gallery: Where,
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUT...", help="Images and folders of them, or features of osnet embed.")
    ],
    limit: Annotated[int, typer.Option(help="Matches of each, at most.")] = 5,
    threshold: Annotated[
        Optional[float],
        typer.Option("--threshold", "-t", help="Least cosine similarity of pictures of one person, -1 to 1."),
    ] = None,
    calibration: Calibration = None,
    far: Annotated[
        Optional[float],
        typer.Option(
            help="With --calibration: of 1 / FAR searches for people who are not enrolled, one finds somebody."
        ),
    ] = None,
    fpr: Annotated[
        Optional[float], typer.Option(help="With --calibration: the false positive rate of a pair of pictures.")
    ] = None,
    group: Annotated[bool, typer.Option("--group", help="Only the best match of each person.")] = False,
    rerank: Annotated[bool, typer.Option("--rerank", help="Order the first 100 by k-reciprocal re-ranking.")] = False,
    identity: Identity = None,
    camera: Camera = None,
    since: Since = None,
    until: Until = None,
    where: Attributes = None,
    model: LoadedModel = None,
    backend: Backend = "auto",
    device: Device = "auto",
    *,
    fetch: dict[str, Any],
    as_json: AsJson = False,
) -> int:
    """Find who is on pictures: the most similar entries, and whether the best one is similar enough.

    Without a threshold nothing is decided: measure one with osnet eval --calibrate. The exit code is 1 if images that
    cannot be read were left out.
    """
    from osnet.gallery.enrol import search_images
    from osnet.gallery.entries import check_signature
    from osnet.gallery.gallery import Gallery
    from osnet.image_files import find_images
    from osnet.inference.embedder import Signature
    from osnet.inference.feature_files import read_features

    options: dict[str, Any] = {
        "limit": limit, "group": group, "rerank": rerank, "identity": identity, "camera": camera, "since": since,
        "until": until, "where": conditions_of(where),
    }  # fmt: skip
    with Gallery(gallery, model, backend=backend, device=device, **fetch) as opened:
        least = choose_threshold(opened, threshold, calibration, far, fpr)
        names: list[str] = []
        results = []
        for path in filter(holds_features, inputs):
            files, features, about = read_features(path)
            check_signature(Signature.from_dict(about), opened.signature, str(path))
            names += files
            results += opened.search(features, threshold=least, **options)
        images = [path for path in inputs if not holds_features(path)]
        found = find_images(images).images if images else []
        searched, answers = search_images(opened, found, on_failure=_left_out, threshold=least, **options)
        names += map(str, searched)
        results += answers
    code = 1 if len(searched) < len(found) else 0
    if as_json:
        print_json([{"query": name, **result.to_dict()} for name, result in zip(names, results)])
        return code
    for name, result in zip(names, results):
        answer = {
            None: "not decided (no threshold)",
            True: "unknown",
            False: result.identity or "known, without a name",
        }
        say(f"{name}: {answer[result.unknown]}")
        for match in result.matches:
            reranked = "" if match.distance is None else f"  {match.distance:.3f}"
            say(f"  {match.similarity:.3f}{reranked}  {_line(match.entry)}")
    return code


def _left_out(message: str) -> None:
    say(f"osnet: left out: {message}", err=True)


def remove(
    gallery: Where,
    ids: Ids = None,
    identity: Identity = None,
    camera: Camera = None,
    since: Since = None,
    until: Until = None,
    where: Attributes = None,
    older_than: Annotated[
        Optional[str], typer.Option(metavar="AGE", help="Only entries older than this, such as 90d (s, m, h, d, w).")
    ] = None,
    everything: Annotated[bool, typer.Option("--everything", help="Remove all entries.")] = False,
    receipt: Annotated[
        Optional[Path], typer.Option(metavar="FILE", help="Add a line of JSON to this file: what was removed.")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Remove the entries that meet all conditions, so that no byte of them is left in the gallery.

    The exit code is 1 if that could not be done at once, because another process reads the gallery.
    """
    from osnet.gallery.gallery import Gallery

    with Gallery(gallery) as opened, open(receipt or os.devnull, "a", encoding="ascii", opener=_private) as lines:
        done = opened.remove(
            ids=ids, identity=identity, camera=camera, since=since, until=until, where=conditions_of(where),
            older_than=older_than, everything=everything,
        )  # fmt: skip
        told = done.to_dict()
        lines.write(json.dumps(told) + "\n")
    if as_json:
        print_json(told)
    else:
        say(
            f"{gallery}: removed {len(done.ids):,} entries of {len(done.identities):,} persons and "
            f"{done.thumbnails:,} thumbnails; entries left: {done.remaining:,}"
        )
    if not done.erased:
        say(
            "osnet: they are removed, but their bytes could not be overwritten while another process reads the "
            "gallery; run the command again later",
            err=True,
        )
    return 0 if done.erased else 1


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)  # it names people


def list_entries(
    gallery: Where,
    ids: Ids = None,
    identity: Identity = None,
    camera: Camera = None,
    since: Since = None,
    until: Until = None,
    where: Attributes = None,
    limit: Annotated[Optional[int], typer.Option(help="Entries at most; default: all.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the entries that meet all conditions, in the order in which they were added."""
    from osnet.gallery.gallery import Gallery

    with Gallery(gallery) as opened:
        entries = opened.list(
            ids=ids, identity=identity, camera=camera, since=since, until=until, where=conditions_of(where), limit=limit
        )
        if as_json:
            print_json([entry.to_dict() for entry in entries])
            return
        for entry in entries:
            say(_line(entry))


def stats(
    gallery: Where,
    check: Annotated[bool, typer.Option("--check", help="Read everything and compare checksums.")] = False,
    as_json: AsJson = False,
) -> int:
    """Show what a gallery holds and what it is made with. With --check the exit code is 1 if it is damaged."""
    from osnet.gallery.gallery import Gallery

    with Gallery(gallery) as opened:
        problems = list(opened.check()) if check else []
        told = opened.stats().to_dict() if not problems else {"where": gallery}
    if as_json:
        print_json({**told, **({"problems": problems} if check else {})})
    elif not problems:
        _print_stats(told)
        if check:
            say("- every checksum is right")
    for problem in problems:
        say(f"osnet: {problem}", err=True)
    return 1 if problems else 0


def export(
    gallery: Where,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Parquet file to write.")],
    identity: Identity = None,
    camera: Camera = None,
    since: Since = None,
    until: Until = None,
    where: Attributes = None,
    overwrite: Overwrite = False,
) -> None:
    """Write entries with features and thumbnails to a Parquet file, which osnet cluster and others read too."""
    from osnet.gallery.gallery import Gallery
    from osnet.gallery.transfer import export_gallery

    with Gallery(gallery) as opened:
        count = export_gallery(
            opened, out, overwrite=overwrite, identity=identity, camera=camera, since=since, until=until,
            where=conditions_of(where),
        )  # fmt: skip
    say(f"{out}: {count:,} entries")


def import_file(
    gallery: Where,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Parquet file of osnet gallery export.")],
) -> None:
    """Add exported entries to a gallery, which is made if it is not there. Entries keep their ids."""
    from osnet.gallery.transfer import import_gallery

    with Progress("importing", "entries") as progress:
        done = import_gallery(gallery, file, progress=progress)
    say(f"{gallery}: {done.read:,} read, {done.new:,} new")


@with_fetch_options
def rebuild(
    gallery: Where,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="GALLERY", help="Path of the new gallery.")],
    model: Model = "osnet",
    precision: Precision = "auto",
    size: Size = None,
    flip: Flip = False,
    backend: Backend = "auto",
    device: Device = "auto",
    *,
    fetch: dict[str, Any],
) -> int:
    """Make a gallery of another model from the thumbnails of this one; entries keep their ids.

    The exit code is 1 if entries without a thumbnail were left out.
    """
    from osnet.gallery.gallery import Gallery
    from osnet.gallery.transfer import rebuild_gallery

    how = {"precision": precision, "size": read_size(size), "flip": flip, "backend": backend, "device": device, **fetch}
    with Gallery(gallery) as opened, Progress("embedding", "thumbnails") as progress:
        done = rebuild_gallery(opened, out, model, progress=progress, **how)
    say(f"{out}: {done.new:,} of {done.read:,} entries")
    if done.new < done.read:
        say(f"osnet: {done.read - done.new:,} entries have no thumbnail and were left out", err=True)
    return 0 if done.new == done.read else 1


def _line(entry: Any) -> str:
    from osnet.gallery.filters import time_text

    parts = [
        entry.id,
        entry.identity or "(not known)",
        f"camera {entry.camera}" if entry.camera is not None else "",
        time_text(entry.time) if entry.time is not None else "",
        entry.source or "",
        " ".join(f"{name}={value}" for name, value in entry.attributes.items()),
    ]
    return "  ".join(part for part in parts if part)


def _print_stats(told: dict[str, Any]) -> None:
    from osnet.gallery.filters import time_text

    about = told["with"]
    say(
        f"{told['where']}: {told['entries']:,} entries of {told['identities']:,} persons; "
        f"{told['unidentified']:,} without a name"
    )
    say(f"- model {about['model']}, SHA-256 {about['sha256'][:12]}, {about['precision']}, "
        f"{about['height']}x{about['width']}, normalised {about['normalized']}, flip {about['flip']}")  # fmt: skip
    if told["cameras"]:
        say("- cameras: " + ", ".join(f"{name} ({count:,})" for name, count in told["cameras"].items()))
    if told["first"] is not None:
        say(f"- from {time_text(told['first'])} to {time_text(told['last'])}")
    size = about["thumbnail_size"]
    say(f"- thumbnails: {told['thumbnails']:,}" + (f" of {size[0]}x{size[1]}" if size else " (none are kept)"))
    if told["bytes"] is not None:
        say(f"- {told['bytes'] / 1e6:,.1f} MB")
