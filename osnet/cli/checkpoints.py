"""``osnet fetch``, ``osnet verify``, ``osnet cache``, ``osnet convert``: files of weights."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from osnet.cli.export import Images, verify_file
from osnet.cli.options import (
    AsJson,
    CacheDir,
    ModelArgument,
    Overwrite,
    print_json,
    say,
    with_fetch_options,
)
from osnet.escaping import name_of_text

if TYPE_CHECKING:
    from osnet.hub.inventory import CachedFile


def add_to(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.command("fetch")(fetch)
    app.command("verify")(verify)
    app.command("convert")(convert)
    cache = typer.Typer(
        help="List the cached files, add or remove some.",
        invoke_without_command=True,
    )
    cache.callback()(cache_list)
    cache.command("add")(cache_add)
    cache.command("remove")(cache_remove)
    app.add_typer(cache, name="cache")


@with_fetch_options
def fetch(
    model: ModelArgument = "osnet",
    force: Annotated[bool, typer.Option("--force", help="Download again, also if it is in the cache.")] = False,
    *,
    fetch: dict[str, Any],
    as_json: AsJson = False,
) -> None:
    """Download a published checkpoint, verify its SHA-256, and print its path."""
    from osnet.errors import OptionError
    from osnet.hub import fetch as hub
    from osnet.models.load import names_weights_file

    if names_weights_file(model):
        raise OptionError(
            f"{model} is a file already; expected a card or its name (osnet verify {model} checks a file)"
        )
    card = hub.resolve(model)
    path = hub.fetch(card, force=force, **fetch)
    if as_json:
        print_json({"path": str(path), "uid": card.uid, "sha256": card.checkpoint.sha256})
    else:
        say(path)


def verify(
    target: Annotated[
        Optional[str], typer.Argument(metavar="[MODEL|PATH]", help="A model or a file; without one, the whole cache.")
    ] = None,
    consumer: Annotated[
        Optional[str],
        typer.Option("--for", metavar="PROGRAM", help="Run an exported file as this program does (see osnet export)."),
    ] = None,
    model: Annotated[
        Optional[str], typer.Option("--model", "-m", help="With --for: the weights; default: what the file says.")
    ] = None,
    images: Images = None,
    cache_dir: CacheDir = None,
    as_json: AsJson = False,
) -> int:
    """Hash cached files, read a file of weights whole, or run an exported file as another program does (--for).

    Exit code 1 when one is wrong. Nothing is fetched.
    """
    from osnet.errors import OptionError
    from osnet.hub.inventory import verify_cache

    if consumer is not None:
        if target is None:
            raise OptionError("--for: expected an exported file (.onnx, .xml) before it")
        return verify_file(Path(target), consumer, model, images, {"cache_dir": cache_dir, "offline": True}, as_json)
    if model or images:
        raise OptionError("--model and --images: expected --for with them")
    if target is None:
        rows = [_cached_row(file) for file in verify_cache(cache_dir)]
    else:
        rows = [_target_row(target, cache_dir)]
    if as_json:
        print_json(rows)
    elif not rows:
        say("the cache is empty", err=True)
    else:
        for row in rows:
            known = ", ".join(row["cards"]) or row.get("network", "")
            say(f"{row['state']:<9} {row['path']}  {row['problem'] or known}".rstrip())
    return 1 if any(row["state"] == "damaged" for row in rows) else 0


def _cached_row(file: "CachedFile") -> dict[str, Any]:
    return {
        "path": str(file.path),
        "state": file.state.value,
        "size": file.size,
        "sha256": file.sha256,
        "cards": list(file.cards),
        "problem": file.problem,
    }


def _target_row(target: str, cache_dir: Optional[Path]) -> dict[str, Any]:
    """One model or file: hashed, and read as weights."""
    from osnet.checkpoint.weights import read_weights_file
    from osnet.errors import CheckpointError, HashError
    from osnet.hub.catalog import list_cards
    from osnet.hub.fetch import fetch as fetch_file
    from osnet.models.load import names_weights_file

    row: dict[str, Any] = {"path": target, "state": "valid", "size": 0, "sha256": "", "cards": [], "problem": ""}
    try:
        path = Path(target) if names_weights_file(target) else fetch_file(target, cache_dir=cache_dir, offline=True)
        weights = read_weights_file(path)
    except (CheckpointError, HashError) as error:
        return {**row, "state": "damaged", "problem": str(error)}
    cards = [card.uid for card in list_cards() if card.checkpoint.sha256 == weights.sha256]
    row.update(path=str(path), size=path.stat().st_size, sha256=weights.sha256, cards=cards)
    row["network"] = weights.variant.name
    return row


def cache_list(context: typer.Context, cache_dir: CacheDir = None, as_json: AsJson = False) -> None:
    """List the cached files with their sizes and cards. They are not read."""
    if context.invoked_subcommand:
        return
    from osnet.hub.inventory import list_cache

    rows = [_cached_row(file) for file in list_cache(cache_dir)]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        say(f"{row['size']:>12,}  {row['path']}  {row['problem'] or ', '.join(row['cards'])}".rstrip())
    if not rows:
        say("the cache is empty", err=True)


def cache_add(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Published checkpoints, under any name.")],
    cache_dir: CacheDir = None,
) -> None:
    """Copy checkpoints into the cache, identified by their SHA-256, and print their paths there."""
    from osnet.hub.inventory import add_to_cache

    for file in files:
        say(add_to_cache(name_of_text(file), cache_dir).path)


def cache_remove(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME...", help="A model, or a file as `osnet cache` lists it.")
    ],
    cache_dir: CacheDir = None,
) -> None:
    """Remove files from the cache."""
    from osnet.hub.inventory import remove_cached

    for name in names:
        for path in remove_cached(name_of_text(name), cache_dir):
            say(f"removed {path}")


@with_fetch_options
def convert(
    src: Annotated[str, typer.Argument(help="Weights (.ckpt .pth .pth.tar .pt .safetensors), or a model to fetch.")],
    dst: Annotated[Path, typer.Argument(help="File to write; its suffix sets the format.")],
    overwrite: Overwrite = False,
    *,
    fetch: dict[str, Any],
    as_json: AsJson = False,
) -> None:
    """Convert weights between formats, bit for bit."""
    from osnet.checkpoint.convert import convert as convert_file
    from osnet.checkpoint.formats import format_of
    from osnet.hub.fetch import fetch as fetch_file
    from osnet.models.load import names_weights_file

    format_of(str(dst))  # before anything is fetched
    weights = convert_file(src if names_weights_file(src) else fetch_file(src, **fetch), dst, overwrite=overwrite)
    if as_json:
        print_json(
            {
                "src": src,
                "dst": str(dst),
                "network": weights.variant.name,
                "classifier": weights.num_classes,
                "set_aside": len(weights.extras),
                "notes": list(weights.notes),
            }
        )
        return
    say(f"{dst}: {weights.variant.name}, {len(weights.arrays)} parameters, classifier {weights.num_classes}")
    for note in weights.notes:
        say(f"osnet: note: {note}", err=True)
