"""Paths and addresses: what a text names, and how names in a list are joined to its folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from osnet.errors import OptionError
from osnet.locations import Remote, join, location


@pytest.mark.parametrize(
    ("text", "bucket", "key"),
    [
        ("s3://crops", "crops", ""),
        ("s3://crops/", "crops", ""),
        ("S3://crops/in/", "crops", "in"),
        ("s3://crops/a b%20c?+é.jpg", "crops", "a b%20c?+é.jpg"),
    ],
)
def test_an_address_is_taken_as_it_is_written(text: str, bucket: str, key: str) -> None:
    assert location(text) == Remote("s3", bucket, key)


def test_an_address_has_parts_as_a_path_has() -> None:
    place = location("s3://crops/in/a.csv")
    assert isinstance(place, Remote)
    assert (place.name, place.suffix, str(place.parent), str(place.parent / "b")) == (
        "a.csv", ".csv", "s3://crops/in", "s3://crops/in/b",
    )  # fmt: skip
    assert (str(Remote("s3", "crops", "")), str(Remote("s3", "crops", "") / "a")) == ("s3://crops", "s3://crops/a")


@pytest.mark.parametrize("text", ["a/b", "s3:/crops/a", "/s3://a", "c:/x", "://x", ""])
def test_all_else_is_a_path(text: str) -> None:
    assert location(text) == Path(text)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("http://host/a.jpg", "http://host/a.jpg: expected a path, or an address that begins with one of s3://"),
        ("s3:///a.jpg", "names no bucket; expected s3://BUCKET/NAME"),
    ],
)
def test_other_addresses_are_refused(text: str, match: str) -> None:
    with pytest.raises(OptionError, match=match):
        location(text)


@pytest.mark.parametrize(
    ("folder", "name", "joined"),
    [
        ("", "a.jpg", "a.jpg"),
        ("lists", "a.jpg", "lists/a.jpg"),
        ("lists", "/a.jpg", "/a.jpg"),
        ("lists", "../a.jpg", "lists/../a.jpg"),
        ("lists", "s3://crops/a.jpg", "s3://crops/a.jpg"),
        ("s3://crops/lists", "a.jpg", "s3://crops/lists/a.jpg"),
        ("s3://crops/lists", "../in/a.jpg", "s3://crops/in/a.jpg"),
        ("s3://crops/lists", "a..jpg", "s3://crops/lists/a..jpg"),
        ("s3://crops/lists", "/a.jpg", "/a.jpg"),
    ],
)
def test_names_are_relative_to_the_folder_of_their_list(folder: str, name: str, joined: str) -> None:
    assert join(folder, name) == joined
