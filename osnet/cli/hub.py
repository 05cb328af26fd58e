"""``osnet hub``: mindspore_hub's cache laid out, checked, and undone."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Optional

import typer

from osnet.cli.options import (
    AllowHost,
    AllowHttp,
    AsJson,
    CacheDir,
    Mirror,
    Offline,
    Timeout,
    fetch_keywords,
    print_json,
    say,
)

Uids = Annotated[
    Optional[list[str]], typer.Argument(metavar="[UID]...", help="A uid, an alias, or the path of a card (.md).")
]
HubDir = Annotated[Optional[Path], typer.Option("--hub-dir", help="mindspore_hub's folder.", show_default="~/.mscache")]


def add_to(app: typer.Typer) -> None:
    """Add this group's commands."""
    hub = typer.Typer(help="Make mindspore_hub.load work for OSNet.", no_args_is_help=True)
    hub.command("install")(install)
    hub.command("check")(check)
    hub.command("remove")(remove)
    app.add_typer(hub, name="hub")


def install(
    uids: Uids = None,
    hub_dir: HubDir = None,
    cache_dir: CacheDir = None,
    offline: Offline = None,
    mirror: Mirror = None,
    allow_host: AllowHost = None,
    allow_http: AllowHttp = None,
    timeout: Timeout = None,
) -> None:
    """Lay out what mindspore_hub needs to load these cards (default: osnet), verified, and print the paths."""
    from osnet.mshub.install import install as lay_out

    fetch = fetch_keywords(cache_dir, offline, mirror, allow_host, allow_http, timeout)
    for uid in uids or ["osnet"]:
        for path in lay_out(uid, hub_dir=hub_dir, **fetch):
            say(path)


def check(uids: Uids = None, hub_dir: HubDir = None, as_json: AsJson = False) -> int:
    """Say line by line what mindspore_hub will find. Exit code 1 when something is wrong. Nothing is fetched."""
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
    """Take away what `osnet hub install` put there (default: for every card); what stood there before stays."""
    from osnet.mshub.install import remove as take_away

    wanted: list[Optional[str]] = [*uids] if uids else [None]
    for uid in wanted:
        for path in take_away(uid, hub_dir=hub_dir):
            say(f"removed {path}")
