"""``osnet hub``: mindspore_hub's cache laid out, checked, and undone."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from osnet.cli.options import (
    AsJson,
    print_json,
    say,
    with_fetch_options,
)

Uids = Annotated[
    Optional[list[str]], typer.Argument(metavar="[UID]...", help="A uid, an alias, or the path of a card (.md).")
]
HubDir = Annotated[Optional[Path], typer.Option("--hub-dir", help="mindspore_hub's folder.", show_default="~/.mscache")]


def add_to(app: typer.Typer) -> None:
    """Add this group's commands."""
    hub = typer.Typer(help="Set up the folder that mindspore_hub.load reads.", no_args_is_help=True)
    hub.command("install")(install)
    hub.command("check")(check)
    hub.command("remove")(remove)
    app.add_typer(hub, name="hub")


@with_fetch_options
def install(
    uids: Uids = None,
    hub_dir: HubDir = None,
    *,
    fetch: dict[str, Any],
) -> None:
    """Write what mindspore_hub needs to load these cards (default: osnet), and print the paths."""
    from osnet.mshub.install import install as lay_out

    for uid in uids or ["osnet"]:
        for path in lay_out(uid, hub_dir=hub_dir, **fetch):
            say(path)


def check(uids: Uids = None, hub_dir: HubDir = None, as_json: AsJson = False) -> int:
    """Check what mindspore_hub will find. The exit code is 1 if something is wrong. Nothing is downloaded."""
    from osnet.mshub.check import check as look

    wanted: list[Optional[str]] = [*uids] if uids else [None]
    findings = [finding for uid in wanted for finding in look(uid, hub_dir=hub_dir)]
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            say(f"{'ok' if finding.good else 'WRONG':<5}  {finding.what}  {finding.note}")
    return 0 if all(finding.good for finding in findings) else 1


def remove(uids: Uids = None, hub_dir: HubDir = None) -> None:
    """Remove what `osnet hub install` wrote (default: for every card), and nothing else."""
    from osnet.mshub.install import remove as take_away

    wanted: list[Optional[str]] = [*uids] if uids else [None]
    for uid in wanted:
        for path in take_away(uid, hub_dir=hub_dir):
            say(f"removed {path}")
