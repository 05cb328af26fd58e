"""What the routes are asked with: the types of their parameters, and pictures as bodies."""

# Without annotations from __future__: FastAPI reads those of the routes, on Python 3.9 too.

import json
import re
from typing import Annotated, Any, Optional

from fastapi import Depends, Path, Query, Request
from starlette.exceptions import HTTPException

from osnet.errors import ImageError, OptionError

PICTURE = {
    "requestBody": {
        "required": True,
        "description": "An image file.",
        "content": {
            kind: {"schema": {"type": "string", "format": "binary"}}
            for kind in ("image/jpeg", "image/png", "image/webp", "application/octet-stream")
        },
    }
}


_BOX = r"^-?\d{1,7}(\.\d{1,3})?(,-?\d{1,7}(\.\d{1,3})?){3}$"
Box = Annotated[
    Optional[str],
    Query(
        json_schema_extra={"pattern": _BOX},
        description="x1,y1,x2,y2 in pixels of the picture: only this part of it is used.",
    ),
]
Several = Annotated[Optional[list[str]], Query(max_length=100)]
Moment = Annotated[
    Optional[str], Query(max_length=40, description="ISO 8601, UTC without a time zone; or seconds since 1970.")
]
Id = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]
AttributesText = Annotated[
    Optional[str], Query(max_length=10_000, description='A JSON object of texts, numbers and bools: {"site": "north"}.')
]


def _filters(
    identity: Several = None,
    camera: Several = None,
    since: Moment = None,
    until: Moment = None,
    attributes: AttributesText = None,
) -> dict[str, Any]:
    """Conditions that an entry must meet; of several persons or cameras, any."""
    where = attributes_of(attributes)
    return {
        "identity": identity or None, "camera": camera or None, "since": moment(since), "until": moment(until),
        "where": where or None,
    }  # fmt: skip


def _options(
    limit: Annotated[int, Query(ge=1, le=1000, description="Matches at most.")] = 20,
    threshold: Annotated[
        Optional[float], Query(ge=-1, le=1, description="Least similarity that counts as the same person.")
    ] = None,
    group: Annotated[bool, Query(description="Only the best match of each person.")] = False,
    rerank: Annotated[bool, Query(description="Order the first 100 by k-reciprocal re-ranking.")] = False,
) -> dict[str, Any]:
    return {"limit": limit, "threshold": threshold, "group": group, "rerank": rerank}


Filters = Annotated[dict[str, Any], Depends(_filters)]
Options = Annotated[dict[str, Any], Depends(_options)]


async def picture_of(request: Request) -> bytes:
    """The body of a request: the bytes of a picture.

    Raises:
        HTTPException, ImageError: it is something else, or empty.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not kind.startswith("image/") and kind != "application/octet-stream":
        raise HTTPException(415, "expected a picture as the body: Content-Type image/jpeg, image/png, ...")
    content = await request.body()
    if not content:
        raise ImageError("the body is empty; expected an image file")
    return content


def corners(text: Optional[str]) -> Optional[tuple[float, float, float, float]]:
    """What a `Box` says.

    Raises:
        OptionError: not four numbers.
    """
    if text is None:
        return None
    if not re.search(_BOX, text):
        raise OptionError("box: expected x1,y1,x2,y2 in pixels of the picture, such as 10,0,74.5,128")
    x1, y1, x2, y2 = map(float, text.split(","))
    return x1, y1, x2, y2


def moment(text: Optional[str]) -> Any:
    """What a `Moment` says: a number, or text that the gallery reads."""
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        return text


def attributes_of(text: Optional[str]) -> Optional[dict[str, Any]]:
    """What an `AttributesText` says.

    Raises:
        OptionError: not a JSON object.
    """
    if text is None:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise OptionError("attributes: not valid JSON") from None
    if not isinstance(found, dict):
        raise OptionError('attributes: expected a JSON object, such as {"site": "north"}')
    return found
