"""What is to be embedded, as a stream of tables of rows: folders, tables, lists, tar files and standard input.

The rows of the same inputs always come in the same order, and no more of them are held than a few thousand.
"""

from __future__ import annotations

import os
import sys
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from io import BufferedReader
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from osnet.errors import DataError, ImageError, OptionError
from osnet.escaping import text_of_name
from osnet.image_files import IMAGE_SUFFIXES, MAX_BYTES, PathLike, is_image_name, refuse_video, walk_images
from osnet.inference.tables import BOX, FILE, open_table, place_fields
from osnet.locations import Location, Remote, is_address, join, location, open_file, read_object

if TYPE_CHECKING:
    import pyarrow as pa

    from osnet.video_files import Video

STDIN = "-"
LIST_SUFFIXES = (".txt", ".lst", ".list")
TABLE_SUFFIXES = (".csv", ".parquet")
_PACKED_TARS = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")

_AT_ONCE = 4096
_EXAMPLES = 3


def is_stream(path: PathLike) -> bool:
    """Whether `path` names rows (a table, a list, a tar file, standard input) instead of being an image or a folder."""
    return _kind(location(path)) not in ("image", "folder")


class Source:
    """The images that `inputs` name.

    Args:
        inputs: folders (searched with their subfolders), image files, tables (``.csv``, ``.parquet``) with the column
            ``path``, lists (``.txt``, one path a line), ``.tar`` files with images in them, and ``-`` for a list on
            standard input. Paths in a file are relative to its folder. All but ``-`` may be in an object store
            (``s3://bucket/folder``).

    Attributes:
        schema: of the rows: ``file``, the further columns of all tables, and where in a tar file an image lies.
        ignored: number of files and tar members met so far that are not images; `examples` has the first few.
        video: whose frames the images are; None for image files.

    Raises:
        ImageError: an input does not exist, or a folder has no images.
        DataError: a table cannot be read or lacks a column, or two tables have a column of different types.
    """

    video: Video | None = None

    def __init__(self, inputs: Sequence[PathLike]) -> None:
        import pyarrow as pa

        if not inputs:
            raise ImageError("no inputs: expected folders, images, tables, lists or tar files")
        self._inputs = [(_kind(place), place) for place in map(location, inputs)]
        self._named = {str(path) for kind, path in self._inputs if kind == "image"}
        self.ignored = 0
        self.examples: list[str] = []
        schemas = []
        for kind, path in self._inputs:
            _check(kind, path)
            if kind == "table":
                with open_table(path) as table:
                    schemas.append(table.schema)
        file = pa.schema([(FILE, pa.string())])
        try:
            columns = pa.unify_schemas([file, *schemas])
        except pa.ArrowException as error:
            raise DataError(f"the tables do not go together: {' '.join(str(error).split())}") from None
        self.has_boxes = set(BOX) <= set(columns.names)
        self.schema = pa.schema([*columns, *place_fields()])

    def tables(self) -> Iterator[pa.Table]:
        """Yield all rows in order, some thousands at a time, each table with the columns of `schema`."""
        known: set[Any] = set()
        for kind, path in self._inputs:
            if kind == "table":
                with open_table(path) as table:
                    yield from map(self._aligned, table.rows())
            elif kind == "tar":
                yield from self._of_columns(_chunks(self._members(path)), path)
            else:
                yield from self._of_columns(_chunks((name,) for name in self._names(kind, path, known)))

    def parts(self, size: int) -> Iterator[pa.Table]:
        """Yield all rows in order, `size` at a time; the last table may have fewer."""
        import pyarrow as pa

        held: list[pa.Table] = []
        for table in self.tables():
            held.append(table)
            while sum(map(len, held)) >= size:
                rows = pa.concat_tables(held)
                yield rows.slice(0, size).combine_chunks()
                held = [rows.slice(size)]
        rest = pa.concat_tables(held) if held else self.schema.empty_table()
        if len(rest):
            yield rest.combine_chunks()

    def _names(self, kind: str, path: Location, known: set[Any]) -> Iterator[str]:
        if kind == "image":
            yield str(path)
        elif kind == "folder":
            for name, is_image in walk_images(path, known):
                if not is_image:
                    self._ignore(name)
                elif name not in self._named:
                    yield name
        elif kind == "stdin":
            yield from _lines(sys.stdin.buffer if sys.stdin else [], "")
        else:
            with _open(path) as file:
                yield from _lines(file, str(path.parent))

    def _members(self, path: Location) -> Iterator[tuple[str, int, int]]:
        """Name, offset and size of each image in the tar file."""
        with _open(path) as file:
            count = 0
            try:
                with tarfile.open(fileobj=file, mode="r:") as archive:
                    while (member := archive.next()) is not None:
                        archive.members.clear()  # type: ignore[attr-defined] # else it keeps all of them
                        name = f"{path}/{member.name}"
                        if member.isreg() and not member.issparse() and is_image_name(Path(member.name).name):
                            count += 1
                            yield name, member.offset_data, member.size
                        elif not member.isdir():
                            self._ignore(name)
                    file.seek(archive.offset)
                    whole = file.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)
            except (tarfile.TarError, OSError) as error:
                raise _cut(path, str(error), count) from None
            if not whole:
                raise _cut(path, f"no end mark at byte {archive.offset:,}", count)

    def _ignore(self, name: str) -> None:
        self.ignored += 1
        if len(self.examples) < _EXAMPLES:
            self.examples.append(name)

    def _of_columns(self, chunks: Iterable[list[tuple[Any, ...]]], tar: Location | None = None) -> Iterator[pa.Table]:
        import pyarrow as pa

        for chunk in chunks:
            names, *places = zip(*chunk)
            columns = {FILE: pa.array(map(text_of_name, names), pa.string())}
            if tar:
                where = [[text_of_name(str(tar))] * len(names), *places]
                columns |= {field.name: pa.array(values, field.type) for field, values in zip(place_fields(), where)}
            yield self._aligned(pa.table(columns))

    def _aligned(self, table: pa.Table) -> pa.Table:
        import pyarrow as pa

        known = set(table.column_names)
        return pa.table(
            [
                table[field.name].cast(field.type) if field.name in known else pa.nulls(len(table), field.type)
                for field in self.schema
            ],
            schema=self.schema,
        )


def content_of(name: str, tar: str | None, offset: int, size: int) -> bytes | None:
    """The bytes of an image that `Source` found in a tar file or an object store; None for a file of this machine.

    Args:
        name: of the image.
        tar, offset, size: the tar file that it is in, and where; None for an image of its own.

    Raises:
        ImageError: it is not there, is too large or a video, or its tar file has been cut since.
        StoreError: the object store does not answer, or refuses: the image may be good.
    """
    if tar is not None:
        return read_member(tar, offset, size, MAX_BYTES)
    if not is_address(name):
        return None
    try:
        place = location(name)
        refuse_video(place)
        return read_object(place, limit=MAX_BYTES) if isinstance(place, Remote) else None
    except OptionError as error:
        raise ImageError(str(error)) from None
    except OSError as error:
        raise ImageError(f"{name}: {error.strerror or error}; expected an image file") from None


def read_member(tar: str, offset: int, size: int, limit: int) -> bytes:
    """The bytes of a tar member that `Source` found.

    Raises:
        ImageError: it has more than `limit` bytes, or the file cannot be read, or has been cut since.
    """
    if size > limit:
        raise ImageError(f"{tar}: a member of {size:,} bytes, over {limit:,}; expected a crop of a person")
    place = location(tar)
    try:
        if isinstance(place, Remote):
            content = read_object(place, limit=limit, offset=offset, size=size)
        else:
            with open_file(place) as file:
                file.seek(offset)
                content = file.read(size)
    except OSError as error:
        raise ImageError(f"{tar}: cannot be read ({error.strerror or error})") from None
    if len(content) < size:
        raise ImageError(f"{tar}: has been cut since it was listed; copy it again")
    return content


def _cut(path: Location, reason: str, count: int) -> DataError:
    return DataError(f"{path}: not a whole tar file ({reason}), after {count} images; copy it again")


def _kind(path: Location) -> str:
    if str(path) == STDIN:
        return "stdin"
    if path.is_dir():
        return "folder"
    kinds = (("table", TABLE_SUFFIXES), ("list", LIST_SUFFIXES), ("tar", (".tar",)), ("packed", _PACKED_TARS))
    return next((kind for kind, suffixes in kinds if path.name.lower().endswith(suffixes)), "image")


def _check(kind: str, path: Location) -> None:
    if kind == "stdin":
        return
    if kind == "folder":
        try:
            if not any(is_image for _, is_image in walk_images(path)):
                looked_for = " ".join(IMAGE_SUFFIXES)
                raise ImageError(f"{path}: no images in this folder or below it (looked for {looked_for})")
        except OSError as error:
            raise ImageError(f"{path}: the folder cannot be read ({error.strerror or error})") from None
    elif not path.exists():
        what = "object, folder or bucket" if isinstance(path, Remote) else "file or folder"
        raise ImageError(f"{path}: no such {what}")
    elif kind == "packed":
        raise ImageError(f"{path}: a compressed tar file cannot be read in parts; unpack it to a .tar first")
    elif kind == "image":
        refuse_video(path)
    else:
        _open(path).close()


def _open(path: Location) -> BufferedReader:
    try:
        return open_file(path)
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror or error})") from None


def _lines(file: Iterable[bytes], folder: str) -> Iterator[str]:
    for line in file:
        name = os.fsdecode(line.rstrip(b"\r\n"))
        if name:
            yield join(folder, name)


def _chunks(items: Iterable[Any]) -> Iterator[list[Any]]:
    items = iter(items)
    while chunk := list(islice(items, _AT_ONCE)):
        yield chunk
