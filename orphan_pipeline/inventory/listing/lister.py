"""Lists a whole bucket with many requests at once, complete or not at all.

The bucket is cut by its own folders first, which is right on every store. Where workers run out of pieces and the store has listed in
UTF-8 order so far, the piece that runs longest is cut in two by a key (StartAfter); on a store in another order that would lose keys, so
there it is never done, and where the order turns out wrong after a cut, all that was listed is thrown away (`OutOfOrder`).

What one page must be is in pages.py and asking.py, where to cut in ranges.py, whether what was cut is the whole list in chain.py.
"""

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from threading import Condition, Lock
from time import monotonic

import pyarrow as pa
import pyarrow.compute as pc

from orphan_pipeline.errors import Refused
from orphan_pipeline.inventory.listing.asking import Asker, Question
from orphan_pipeline.inventory.listing.chain import OutOfOrder, prove_the_chain, rise
from orphan_pipeline.inventory.listing.page import Page, Token
from orphan_pipeline.inventory.listing.ranges import Piece, PieceFigures, cuts_around, in_other_folders, ladder, merged
from orphan_pipeline.inventory.listing.transport import TURN

LEVELS_IN_ORDER = 1
LEVELS_OUT_OF_ORDER = 3
"""How many folders deep the bucket is cut by folders. In order one level is enough, since keys cut the rest."""

MOST_FOLDERS = 500
"""A level with more folders on one page is listed flat: a request a folder would cost more than it saves."""

FOLDERS_A_WORKER = 64
"""So many folders are asked for one by one, in all, and those on the way to what is declared. Beyond them folders are listed together: on
a store where keys do not cut, and with a few keys in each folder, requests, and the memory of them, would be as many as folders."""

PAGES_BEFORE_A_CUT = 1
ENOUGH_TO_DO = 4
RUNGS = 100
PAGES_AHEAD = 64
"""Pages that wait for the writer, and more where there are more workers: the bound of the lister's memory. The writer is woken for half."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListingFigures:
    """How a listing went, with the cross-check of every piece (of neighbours together, where there are very many)."""

    requests: int
    retried: int
    pages: int
    slow_pages: int
    in_order: bool
    ranges: int
    pieces: tuple[PieceFigures, ...]


class Lister:
    """One listing of one bucket, of its objects or of all their `versions`. `cuts`: keys that cut it evenly, from the last inventory; only
    used when the store is `in_order`. `declared`: prefixes that are cut off in any case, since most of the keys lie below them. `started`:
    what was written since then, by the store's clock, may be missing from the list."""

    def __init__(
        self,
        asker: Asker,
        bucket: str,
        *,
        concurrency: int,
        in_order: bool,
        cuts: Sequence[str] = (),
        declared: Sequence[str] = (),
        versions: bool = False,
        started: datetime | None = None,
    ) -> None:
        self._started = started
        self._asker, self._bucket, self._concurrency = asker, bucket, concurrency
        self._declared, self._versions = tuple(declared), versions
        self._in_order = in_order
        self._pages_ahead = max(PAGES_AHEAD, 2 * concurrency)
        self._may_cut = in_order
        self._began = monotonic()
        self._lock = Lock()
        self._work_there, self._room, self._page_there = Condition(self._lock), Condition(self._lock), Condition(self._lock)
        self._waiting: deque[Piece] = deque(_first_pieces(cuts if in_order else (), in_order=in_order))
        self._active: list[Piece] = []
        self._done: list[PieceFigures] = []
        self._pages: deque[pa.RecordBatch] = deque()
        self._failure: BaseException | None = None
        self._folders_left = FOLDERS_A_WORKER * concurrency
        self._slow_pages = 0
        self._folders_hold_all = True
        self._was_cut = bool(cuts) and in_order

    def batches(self) -> Generator[pa.RecordBatch, None, None]:
        """Every object once (schema `LISTED`), in batches of up to 1,000, in no order. Raises Refused, or OutOfOrder."""
        with ThreadPoolExecutor(self._concurrency, thread_name_prefix="lister") as pool:
            try:
                for _ in range(self._concurrency):
                    pool.submit(self._work)
                while pages := self._next_pages():
                    yield from pages
                if self._failure is None:
                    prove_the_chain(self._asker, self._bucket, self._done, versions=self._versions, started=self._started)
            finally:
                self._stop(GeneratorExit())
        if self._failure is not None and not isinstance(self._failure, GeneratorExit):
            raise self._failure

    def figures(self) -> ListingFigures:
        return ListingFigures(
            requests=self._asker.requests,
            retried=self._asker.retried,
            pages=sum(piece.pages for piece in self._done),
            slow_pages=self._slow_pages,
            in_order=self._in_order,
            ranges=len(self._done),
            pieces=merged(self._done),
        )

    def may_repeat(self) -> bool:
        """Whether a row may have come twice. In order it cannot: keys only rise within a piece, and pieces share none."""
        return self._versions or not self._in_order or not self._folders_hold_all

    def range_of(self, key: str) -> str:
        """In words, the innermost range that a key was listed in, as questions are named where they fail."""
        around = [piece for piece in self._done if key.startswith(piece.prefix) and piece.after < key]
        innermost = max(around, key=lambda piece: (len(piece.prefix), piece.after))
        return str(Question(prefix=innermost.prefix, after=innermost.after))

    def detail(self) -> str:
        """For a line of progress."""
        with self._lock:
            left = len(self._active) + len(self._waiting)
            pages = sum(piece.pages for piece in self._done) + sum(piece.pages for piece in self._active)
            rate = pages / max(monotonic() - self._began, 1e-6)
            ranges = f"{len(self._done):,} ranges done, {left:,} to go"
            return f"{pages:,} pages, {rate:,.0f} pages/s, {ranges}, {self._asker.retried:,} requests retried"

    def _work(self) -> None:
        try:
            while (piece := self._take()) is not None:
                with TURN:
                    self._list(piece)
                self._finish(piece)
        except BaseException as error:  # told to the reader of the batches, which raises it
            self._stop(error)

    def _next_pages(self) -> list[pa.RecordBatch]:
        """All pages that wait; none when the listing has ended, or failed."""
        with self._lock:
            while len(self._pages) < self._pages_ahead // 2 and self._failure is None and (self._waiting or self._active):
                self._page_there.wait()
            if self._failure is not None:
                return []
            pages = list(self._pages)
            self._pages.clear()
            self._room.notify_all()
            return pages

    def _take(self) -> Piece | None:
        """The next piece to list: one that waits, or half of one that runs long. None when all is listed, or failed."""
        while True:
            with self._lock:
                victim = None
                while self._failure is None and not self._waiting and self._active and (victim := self._longest()) is None:
                    self._work_there.wait()
                if self._failure is not None or not (self._waiting or self._active):
                    return None
                if self._waiting:
                    piece = self._waiting.popleft()
                    self._active.append(piece)
                    return piece
                assert victim is not None
                victim.being_cut = True
            piece_cut = self._cut(victim)
            with self._lock:
                victim.being_cut, victim.pages_since_cut = False, 0
                victim.patience = PAGES_BEFORE_A_CUT if piece_cut is not None else 2 * victim.patience
                if piece_cut is not None:
                    return piece_cut

    def _longest(self) -> Piece | None:
        if not self._may_cut:
            return None
        able = [p for p in self._active if p.levels == 0 and p.besides is None and not p.being_cut and p.pages_since_cut >= p.patience]
        return max(able, key=lambda piece: piece.pages_since_cut, default=None)

    def _cut(self, victim: Piece) -> Piece | None:
        """Cuts off the far half of a piece that is being listed, where there is a key to begin it with. What is found empty on the way
        only narrows the next search: it bounds nothing, since a store in another order would have keys there all the same."""
        with self._lock:
            rungs = ladder(victim.position, _search_up_to(victim), victim.prefix, most=RUNGS)
        # Nothing lies after the rungs before `first`, and something after those from `end` on. The very first will do more often than not.
        first, end, rung = 0, len(rungs), 0
        while first < end:
            try:
                key = self._next_key(victim.prefix, rungs[rung])
            except Refused:  # to look for a cut is only a help: where the store will not have it, it is done without
                self._may_cut = False
                return None
            with self._lock:
                if self._failure is not None or not self._may_cut or victim not in self._active:
                    return None
                if key is not None and (victim.until is None or key <= victim.until):
                    end = rung
                else:
                    first, victim.empty_after = rung + 1, rungs[rung]
            rung = (first + end) // 2
        with self._lock:
            if self._failure is not None or not self._may_cut or victim not in self._active:
                return None
            if end == len(rungs) or rungs[end] <= victim.position:
                return None
            after = rungs[end]
            piece = Piece(prefix=victim.prefix, after=after, until=victim.until, position=after, empty_after=victim.empty_after)
            victim.until, victim.empty_after, self._was_cut = after, None, True
            self._active.append(piece)
            return piece

    def _next_key(self, prefix: str, after: str) -> str | None:
        with TURN:
            found = self._asker.ask(Question(prefix=prefix, after=after, most=1)).objects
        return str(found["key"][0].as_py()) if found.num_rows else None

    def _list(self, piece: Piece) -> None:
        remembered: Token | None = None
        renew_at = 1
        while True:
            ends = None if self._may_cut else piece.ends  # while keys rise, their order tells
            asked = Question(prefix=piece.prefix, after=piece.after, token=piece.token, delimiter=piece.levels > 0, ends=ends)
            page, ascending = self._ask(piece, asked)
            if piece.levels > 0 and piece.pages == 0 and self._flat_is_better(piece, page):
                self._make_flat(piece)
                continue
            batch, ended = self._accept(piece, page, ascending=ascending)
            if not self._may_cut and not ended:
                piece.ends.add(page)
            if not self._emit(batch) or ended:
                return
            if page.next_token == remembered:
                raise Refused(f"bucket {self._bucket}: the list of {asked} goes in a circle (a former continuation token came again)")
            # Brent's way to notice a circle of any length by remembering one token.
            if piece.pages == renew_at:
                remembered, renew_at = page.next_token, 2 * renew_at
            piece.token = page.next_token

    def _ask(self, piece: Piece, asked: Question) -> tuple[Page, bool]:
        """The next page of a piece, and whether it rises. A page that does not is asked for once more where keys may cut: what passes must
        not take that from the bucket in all sweeps to come."""
        page = self._asker.ask(asked)
        ascending = self._is_ascending(piece, page)
        if not ascending and self._may_cut:
            page = self._asker.ask(asked)
            ascending = self._is_ascending(piece, page)
        return page, ascending

    def _is_ascending(self, piece: Piece, page: Page) -> bool:
        keys = self._after_piece_began(piece, page.objects)["key"]
        folders = list(page.common_prefixes)
        return rise(keys, after=piece.position, strictly=not self._versions) and folders == sorted(folders)

    def _after_piece_began(self, piece: Piece, objects: pa.RecordBatch) -> pa.RecordBatch:
        """Some stores (Ceph before 2025) begin with the versions of the very key after which they were asked."""
        if self._versions and objects.num_rows and objects["key"][0].as_py() <= piece.after:
            return objects.filter(pc.greater(objects["key"], pa.scalar(piece.after)))
        return objects

    def _flat_is_better(self, piece: Piece, page: Page) -> bool:
        too_many = len(page.common_prefixes) > min(MOST_FOLDERS, self._folders_left)
        if self._may_cut:
            return page.truncated or too_many  # keys cut it better
        return too_many and not self._above_declared(piece.prefix)

    def _make_flat(self, piece: Piece) -> None:
        """Lists it without its folders; but what is declared below it is cut off at once, where keys may cut."""
        with self._lock:
            piece.levels = 0
            cuts = cuts_around(self._declared, within=piece.prefix)
            if not cuts or not self._may_cut:
                return
            piece.until, self._was_cut = cuts[0], True
            for low, high in zip(cuts, [*cuts[1:], None], strict=True):
                self._waiting.append(Piece(prefix=piece.prefix, after=low, until=high, position=low))
            self._work_there.notify(len(cuts))

    def _above_declared(self, prefix: str) -> bool:
        return any(path.startswith(prefix) and path != prefix for path in self._declared)

    def _levels_below(self, piece: Piece, folder: str) -> int:
        """A level more only while there is too little to do: a request a folder must not become the listing. Levels are spent below
        declared prefixes, and on the way to them, before they are spent elsewhere."""
        if self._above_declared(folder):
            return max(piece.levels - 1, 1)
        if folder in self._declared:
            return LEVELS_IN_ORDER if self._in_order else LEVELS_OUT_OF_ORDER
        owned = not self._declared or any(folder.startswith(path) for path in self._declared)
        enough = len(self._waiting) >= ENOUGH_TO_DO * self._concurrency or self._folders_left <= 0
        return 0 if enough else piece.levels - 1 if owned else min(piece.levels - 1, 1)

    def _accept(self, piece: Piece, page: Page, *, ascending: bool) -> tuple[pa.RecordBatch, bool]:
        """Checks a page against its piece, and takes note of it; gives what of it belongs to the piece, and whether that was the last."""
        # Only this worker moves the piece's position; what takes time is looked at before the lock.
        named = self._after_piece_began(piece, page.objects)
        if named.num_rows and self._place(named, 0) == (piece.position, piece.version):
            named = named.slice(1)  # said twice, at the end of one page and the beginning of the next
        batch = named if piece.besides is None else named.filter(in_other_folders(named["key"], piece.prefix, piece.besides))
        hold_all = piece.levels == 0 or not pc.any(in_other_folders(named["key"], piece.prefix, ()), min_count=0).as_py()
        with self._lock:
            self._folders_hold_all &= hold_all
            piece.rises &= ascending
            if not ascending:
                self._in_order = self._may_cut = False
                if self._was_cut:
                    raise OutOfOrder(f"bucket {self._bucket}: the store does not list in UTF-8 order (below prefix {piece.prefix!r})")
            passed = False
            if piece.until is not None and named.num_rows and named["key"][-1].as_py() > piece.until:
                batch, passed = named.filter(pc.less_equal(named["key"], pa.scalar(piece.until))), True
                piece.beyond = named["key"][batch.num_rows].as_py()
                named = batch
            ended = passed or not page.truncated
            self._take_folders(piece, page, ended=ended)
            piece.pages += 1
            piece.pages_since_cut += 1
            piece.objects += batch.num_rows
            if named.num_rows:
                piece.position, piece.version = self._place(named, -1)
            if batch.num_rows:
                piece.first = piece.first if piece.first is not None else batch["key"][0].as_py()
                piece.last = batch["key"][-1].as_py()
            self._slow_pages += not page.fast
            # Waking a worker costs more than a page: only when there is something for it to do.
            if page.common_prefixes or piece.pages_since_cut == piece.patience:
                self._work_there.notify(max(1, len(page.common_prefixes)))
        return batch, ended

    def _take_folders(self, piece: Piece, page: Page, *, ended: bool) -> None:
        """Makes pieces of the folders that a page names while there are some left. Those of the others' objects come as one piece more,
        when all folders of this piece are named."""
        for folder in page.common_prefixes:
            if folder in piece.folders:
                if folder != piece.last_folder:
                    raise Refused(f"bucket {self._bucket}: the list of prefix {piece.prefix!r} names the folder {folder!r} twice")
                continue  # a folder at the border of two pages is named on both
            if self._folders_left > 0 or folder in self._declared or self._above_declared(folder):
                piece.folders.add(folder)
                self._folders_left = max(0, self._folders_left - 1)
                self._waiting.append(Piece(prefix=folder, levels=self._levels_below(piece, folder)))
            else:
                piece.has_more_folders = True
        if page.common_prefixes:
            piece.last_folder = page.common_prefixes[-1]
        if ended and piece.has_more_folders:
            self._waiting.append(Piece(prefix=piece.prefix, besides=frozenset(piece.folders)))

    def _place(self, batch: pa.RecordBatch, row: int) -> tuple[str, str | None]:
        """What tells a row from every other: its key, and where versions are listed its version."""
        return batch["key"][row].as_py(), batch["version_id"][row].as_py() if self._versions else None

    def _emit(self, batch: pa.RecordBatch) -> bool:
        """False once the listing has failed, or nobody reads it any more."""
        with self._lock:
            if self._failure is not None:
                return False
            self._pages.append(batch)
            # Waking the reader costs as much as a page: only when there is something for it to do.
            if len(self._pages) >= self._pages_ahead // 2:
                self._page_there.notify()
            if len(self._pages) < self._pages_ahead:
                return True
        with TURN.given_up(), self._lock:
            while len(self._pages) >= self._pages_ahead and self._failure is None:
                self._room.wait()
        return self._failure is None

    def _finish(self, piece: Piece) -> None:
        with self._lock:
            self._active.remove(piece)
            self._done.append(
                PieceFigures(
                    prefix=piece.prefix,
                    after=piece.after,
                    until=piece.until,
                    besides=len(piece.besides or ()),
                    objects=piece.objects,
                    pages=piece.pages,
                    first=piece.first,
                    last=piece.last,
                    beyond=piece.beyond,
                    rises=piece.rises,
                )
            )
            if not self._waiting and not self._active:
                self._work_there.notify_all()
                self._page_there.notify_all()

    def _stop(self, failure: BaseException) -> None:
        """The first failure stands; everyone who waits is woken to see it."""
        with self._lock:
            self._failure = self._failure or failure
            self._pages.clear()
            for condition in (self._work_there, self._room, self._page_there):
                condition.notify_all()
        self._asker.stop()


def _first_pieces(cuts: Sequence[str], *, in_order: bool) -> list[Piece]:
    if not cuts:
        return [Piece(levels=LEVELS_IN_ORDER if in_order else LEVELS_OUT_OF_ORDER)]
    bounds = ["", *cuts]
    return [Piece(after=low, until=high, position=low) for low, high in zip(bounds, [*cuts, None], strict=True)]


def _search_up_to(piece: Piece) -> str | None:
    if piece.empty_after is not None and piece.empty_after <= piece.position:
        piece.empty_after = None  # there were keys after all
    return piece.empty_after if piece.empty_after is not None else piece.until
