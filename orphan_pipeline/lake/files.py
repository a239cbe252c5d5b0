"""Durable files: what is written here is on disk when the call returns, whole or absent. Knows nothing of what the files mean."""

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from orphan_pipeline.errors import Refused

T = TypeVar("T")


def sync_folder(folder: Path) -> None:
    """Makes the folder's own entries durable: a rename is on disk only when its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Creates the folder and what is missing above it. A file is only as durable as the name of every folder that it lies in."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yields a path beside `path` to write to; on success it is synced and takes the name in one step, on failure it is removed."""
    make_folder(path.parent)
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        yield unfinished
        sync_file(unfinished)
        unfinished.replace(path)
        sync_folder(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def folder_written_whole(folder: Path) -> Iterator[Path]:
    """Yields a new folder to fill; on success it replaces `folder` in one step, on failure nothing of it is left."""
    make_folder(folder.parent)
    unfinished = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    unfinished.mkdir()
    try:
        yield unfinished
        for path in unfinished.rglob("*"):
            if path.is_file():
                sync_file(path)
            else:
                sync_folder(path)
        sync_folder(unfinished)
        if folder.exists():
            shutil.rmtree(folder)
        unfinished.replace(folder)
        sync_folder(folder.parent)
    finally:
        if unfinished.exists():
            shutil.rmtree(unfinished)


def write_document(path: Path, of: type[T], document: T) -> None:
    """One frozen dataclass as indented JSON, whole or absent."""
    with written_whole(path) as unfinished:
        unfinished.write_bytes(TypeAdapter(of).dump_json(document, indent=2) + b"\n")


def read_document(path: Path, of: type[T]) -> T:
    """The frozen dataclass that `write_document` wrote. Raises Refused for a file that is none, or that holds more: what is not
    understood must not be passed over."""
    try:
        return TypeAdapter(of).validate_json(path.read_bytes(), extra="forbid")
    except ValidationError as wrong:
        first = wrong.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole file"
        raise Refused(f"{path}: not as this release writes it ({where}: {first['msg']}): cut, edited, or of another release?") from wrong


def sha256_of(path: Path) -> str:
    """Hex digest of the file's bytes, read in a stream."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
