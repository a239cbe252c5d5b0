"""Proves that pieces which were cut by keys are the whole list. That is so only where the store lists in UTF-8 order: in another order,
something lies between two pieces, unseen."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from orphan_pipeline.inventory.listing.asking import Asker, Question
from orphan_pipeline.inventory.listing.ranges import PieceFigures
from orphan_pipeline.inventory.listing.transport import TURN

TRIES_TO_AGREE = 5
"""Two requests, one after the other, between which something may be deleted: where a queue is worked on, in each second a few."""

LONGEST_UPLOAD = timedelta(days=1)
"""Within which what is uploaded in parts is taken to be there."""


class OutOfOrder(Exception):
    """The store does not list in UTF-8 order although the listing counted on it: list again, by folders only."""


class LeftOut(OutOfOrder):
    """A page left out keys that the store names now, and in order: list again, but nothing is known against its order."""


def prove_the_chain(asker: Asker, bucket: str, pieces: Sequence[PieceFigures], *, versions: bool, started: datetime | None) -> None:
    """The first key that the store named beyond a piece must be the first of the next one. What is written or deleted while the list runs
    (`started`: since then, by the store's clock) can look otherwise: so the store is asked again, about what stood there when it began,
    until both ends agree once. Raises OutOfOrder where they never do, or LeftOut where all that it names now is in order, and a key of it
    was not listed."""
    ends = _Ends(asker=asker, bucket=bucket, versions=versions, started=started)
    by_prefix: dict[str, list[PieceFigures]] = {}
    for piece in sorted(pieces, key=lambda piece: (piece.prefix, piece.after)):
        by_prefix.setdefault(piece.prefix, []).append(piece)
    left_out: str | None = None
    for of_prefix in by_prefix.values():
        following = None
        for piece in reversed(of_prefix):
            if piece.until is not None and piece.beyond != following:
                left_out = ends.left_out(piece, until=piece.until, following=following) or left_out
            following = piece.first if piece.first is not None else following
    if left_out is not None:
        raise LeftOut(f"bucket {bucket}: the list left out {left_out!r}, which the store names now")


def rise(keys: Any, *, after: str, strictly: bool) -> bool:
    """Whether the keys come in the order of their UTF-8 bytes, all after that one. Versions of one key follow one another."""
    if not len(keys):
        return True
    rises = pc.less if strictly else pc.less_equal
    rising = len(keys) < 2 or pc.all(rises(keys[:-1], keys[1:])).as_py()
    first = keys[0].as_py()
    return bool(rising) and (not after or first > after or (first == after and not strictly))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ends:
    """Looks again at where pieces end."""

    asker: Asker
    bucket: str
    versions: bool
    started: datetime | None

    def left_out(self, piece: PieceFigures, *, until: str, following: str | None) -> str | None:
        """A key around the end of this piece that was not listed though it stood there, if there is one. `following`: the first key that
        was listed beyond it. Raises OutOfOrder."""
        here = piece.last if piece.last is not None else piece.after
        for _ in range(TRIES_TO_AGREE):
            key, beyond = self._next_old_key(piece.prefix, here), self._next_old_key(piece.prefix, until)
            if key is not None and key <= until:
                return key
            if key == beyond:
                return beyond if beyond is not None and (following is None or beyond < following) else None
        raise OutOfOrder(f"bucket {self.bucket}: the store does not list in UTF-8 order (around {until!r})")

    def _next_old_key(self, prefix: str, after: str) -> str | None:
        """The first key after that one that stood there when the listing began. One row is asked for, then pages, as long as all is new."""
        most: int | None = 1
        while True:
            with TURN:
                page = self.asker.ask(Question(prefix=prefix, after=after, most=most))
            if not rise(page.objects["key"], after=after, strictly=not self.versions):
                raise OutOfOrder(f"bucket {self.bucket}: the store does not list in UTF-8 order (after {after!r})")
            behind = page.objects.filter(pc.greater(page.objects["key"], pa.scalar(after)))
            old = behind.filter(self._stood(behind))
            if old.num_rows:
                return str(old["key"][0].as_py())
            if not page.truncated:
                return None
            if behind.num_rows:
                after = str(behind["key"][-1].as_py())
            elif most is None:  # a page of nothing but versions of that very key, with which some stores begin
                raise OutOfOrder(f"bucket {self.bucket}: the store does not say what comes after {after!r}")
            most = None

    def _stood(self, objects: pa.RecordBatch) -> Any:
        """Which of them stood there when the listing began, for certain: what was uploaded in parts bears the time when that began."""
        if self.started is None:
            return pa.array([True] * objects.num_rows, pa.bool_())
        times = objects["last_modified"]
        uploading = pc.and_(
            pc.match_substring_regex(objects["etag"], "-[0-9]+$"),
            pc.greater_equal(times, pa.scalar(self.started - LONGEST_UPLOAD, times.type)),
        )
        return pc.and_not(pc.less(times, pa.scalar(self.started, times.type)), uploading)
