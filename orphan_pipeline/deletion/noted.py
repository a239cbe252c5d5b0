"""Which finished chunks something was done about after their outcome: `{"below": …, "also": …}` in a ledger. A run that is killed between
a chunk's outcome and what follows it leaves the chunk out, and the next run makes up for it."""

from dataclasses import dataclass
from pathlib import Path

from orphan_pipeline.lake.files import read_document, write_document


@dataclass(frozen=True, slots=True, kw_only=True)
class NotedChunks:
    """Every chunk below `below`, and those of `also`."""

    below: int = 0
    also: tuple[int, ...] = ()

    def __contains__(self, chunk: int) -> bool:
        return chunk < self.below or chunk in self.also

    def with_chunks(self, chunks: set[int]) -> "NotedChunks":
        also, below = {*self.also, *chunks}, self.below
        while below in also:
            below += 1
        return NotedChunks(below=below, also=tuple(sorted(chunk for chunk in also if chunk >= below)))


def read_noted(path: Path) -> NotedChunks:
    """None noted where there is no such file."""
    return read_document(path, NotedChunks) if path.is_file() else NotedChunks()


def write_noted(path: Path, noted: NotedChunks) -> None:
    """On disk when this returns."""
    write_document(path, NotedChunks, noted)
