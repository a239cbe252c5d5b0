"""`asked_after.json` in a ledger: which finished chunks' keys were asked of the databases once more. A run that is killed between a
chunk's outcome and that question leaves the chunk out, and the next run asks."""

from dataclasses import dataclass
from pathlib import Path

from orphan_pipeline.lake.files import read_document, write_document

NAME = "asked_after.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedAfter:
    """Every chunk below `below`, and those of `also`."""

    below: int = 0
    also: tuple[int, ...] = ()

    def __contains__(self, chunk: int) -> bool:
        return chunk < self.below or chunk in self.also

    def with_chunks(self, chunks: set[int]) -> "AskedAfter":
        also, below = {*self.also, *chunks}, self.below
        while below in also:
            below += 1
        return AskedAfter(below=below, also=tuple(sorted(chunk for chunk in also if chunk >= below)))


def read_asked_after(ledger: Path, *, name: str = NAME) -> AskedAfter:
    """`name`: of another note of the same form."""
    path = ledger / name
    return read_document(path, AskedAfter) if path.is_file() else AskedAfter()


def note_asked_after(ledger: Path, asked: AskedAfter, *, name: str = NAME) -> None:
    """On disk when this returns."""
    write_document(ledger / name, AskedAfter, asked)
