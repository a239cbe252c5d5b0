"""Durable files: whole or absent whatever goes wrong, and on disk with every folder above them."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from orphan_pipeline.errors import Refused
from orphan_pipeline.lake.files import folder_written_whole, make_folder, read_document, sha256_of, write_document, written_whole


@dataclass(frozen=True, slots=True)
class Note:
    text: str
    numbers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Notes:
    notes: dict[str, Note]


def test_a_file_takes_its_name_whole(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    with written_whole(path) as unfinished:
        unfinished.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_file_that_fails_leaves_the_former_one_and_nothing_else(tmp_path: Path, failure: type[BaseException]) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail() -> None:
        with written_whole(path) as unfinished:
            unfinished.write_text("half")
            raise failure

    with pytest.raises(failure):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_was_never_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), written_whole(tmp_path / "file"):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_folder_that_fails_leaves_the_former_one_and_nothing_else(tmp_path: Path, failure: type[BaseException]) -> None:
    folder = tmp_path / "folder"
    for text in ("old", "older"):
        with folder_written_whole(folder) as unfinished:
            (unfinished / text).write_text(text)

    def fail() -> None:
        with folder_written_whole(folder) as unfinished:
            (unfinished / "half").mkdir()
            raise failure

    with pytest.raises(failure):
        fail()
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == ["folder", "folder/older"]


def test_every_file_and_folder_is_synced_before_it_takes_its_name_and_its_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name whose folder is not on disk is lost with the power, and a chunk's intent with it."""
    synced: list[Path] = []
    sync = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with written_whole(tmp_path / "new" / "newer" / "file") as unfinished:
        unfinished.touch()
        assert synced == [tmp_path, tmp_path / "new"]
    assert synced[2:] == [unfinished, tmp_path / "new" / "newer"]
    synced.clear()
    with folder_written_whole(tmp_path / "folder") as unfinished:
        (unfinished / "inner").mkdir()
        (unfinished / "inner" / "file").touch()
    assert set(synced[:-1]) == {unfinished, unfinished / "inner", unfinished / "inner" / "file"}
    assert synced[-1] == tmp_path


def test_a_folder_is_made_with_all_that_is_missing_above_it_or_left_as_it_is(tmp_path: Path) -> None:
    for _ in range(2):
        make_folder(tmp_path / "a" / "b")
        (tmp_path / "a" / "b" / "file").touch()
    assert (tmp_path / "a" / "b" / "file").exists()
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "a" / "b" / "file")


def test_a_document_comes_back_as_it_was_written(tmp_path: Path) -> None:
    notes = Notes({"é\n😀": Note("'", (1, 2)), "": Note("")})
    write_document(tmp_path / "notes.json", Notes, notes)
    assert read_document(tmp_path / "notes.json", Notes) == notes


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"notes": {}, "more": 1}', '{"notes": {"a": {"text": "", "more": 1}}}', '{"notes": {"a": {"numbers": []}}}'],
)
def test_a_document_with_less_or_more_than_it_should_hold_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "notes.json").write_text(text)
    with pytest.raises(Refused, match=r"notes.json: not as this release writes it \(.*\): cut, edited, or of another release\?"):
        read_document(tmp_path / "notes.json", Notes)


def test_the_hash_is_of_every_byte(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    assert sha256_of(path) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    path.write_bytes(b"a" * 2**20)
    before = sha256_of(path)
    path.write_bytes(b"a" * (2**20 - 1) + b"b")
    assert sha256_of(path) != before
