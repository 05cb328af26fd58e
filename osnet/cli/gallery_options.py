"""Arguments that commands of ``osnet gallery`` share: which gallery, which entries, which threshold."""

import json
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from osnet.cli.options import say
from osnet.errors import OptionError

Where = Annotated[str, typer.Argument(metavar="GALLERY", help="Path of the gallery, such as people.gallery.")]
LoadedModel = Annotated[
    Optional[str], typer.Option("--model", "-m", help="Where the gallery's model is; default: where it was.")
]
Identity = Annotated[
    Optional[list[str]], typer.Option("--identity", help="Only entries of this person; may be repeated.")
]
Camera = Annotated[Optional[list[str]], typer.Option("--camera", help="Only entries of this camera; may be repeated.")]
Since = Annotated[Optional[str], typer.Option(metavar="TIME", help="Only entries of this time (ISO 8601) or later.")]
Until = Annotated[Optional[str], typer.Option(metavar="TIME", help="Only entries before this time.")]
Attributes = Annotated[
    Optional[list[str]],
    typer.Option("--where", metavar="NAME=VALUE", help="Only entries with this attribute; may be repeated."),
]
Ids = Annotated[Optional[list[str]], typer.Option("--id", help="Only this entry; may be repeated.")]


def choose_threshold(
    gallery: Any, given: Optional[float], calibration: Optional[Path], far: Optional[float], fpr: Optional[float]
) -> Optional[float]:
    """The threshold of a search of `gallery`; None where nothing is to be decided.

    Raises:
        OptionError: options that exclude each other, or a calibration without a rate.
        DataError: as `Gallery.threshold`.
    """
    if calibration is None:
        if far is not None or fpr is not None:
            raise OptionError("--far and --fpr choose a threshold of --calibration FILE (osnet eval --calibrate)")
        return given
    if given is not None:
        raise OptionError("--threshold and --calibration exclude each other: both say when a match is good enough")
    if (far is None) == (fpr is None):
        raise OptionError(
            "--calibration: say how often an answer may be wrong: --far 0.01 for one in 100 searches for people who "
            "are not enrolled, or --fpr for pairs of pictures"
        )
    threshold: float = gallery.threshold(calibration, fpr, far=far)
    rate = f"FPR {fpr:g} of a pair" if fpr is not None else f"FAR {far:g} of a search of {len(gallery):,} entries"
    say(f"osnet: threshold {threshold:.3f}: {rate}", err=True)
    return threshold


def holds_features(path: Path) -> bool:
    """Whether `path` is an output of ``osnet embed``, not images."""
    from osnet.inference.feature_files import FORMATS
    from osnet.inference.feature_folder import MANIFEST

    return path.suffix.lower() in FORMATS or (path / MANIFEST).is_file()


def parse_attributes(pairs: Optional[list[str]], option: str) -> dict[str, Any]:
    """Values of NAME=VALUE.

    Raises:
        OptionError: not of that form; `option` is named.
    """
    found: dict[str, Any] = {}
    for pair in pairs or []:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise OptionError(f"{option}: expected NAME=VALUE, such as site=north, got {pair!r:.80}")
        found[name] = _value(text)
    return found


def _value(text: str) -> Any:
    """A number or true and false as such, all else as text."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, (bool, int, float)) else text


def conditions_of(pairs: Optional[list[str]]) -> dict[str, list[Any]]:
    """Each attribute with its values: a number is also looked for as text."""
    found: dict[str, list[Any]] = {}
    for pair in pairs or []:
        for name, value in parse_attributes([pair], "--where").items():
            found.setdefault(name, []).extend([value] if isinstance(value, str) else [value, pair.partition("=")[2]])
    return found
