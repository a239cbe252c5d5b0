"""The lister over stores of every order: each object exactly once, or nothing at all."""

import itertools
import random
from collections import deque
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from threading import Lock
from threading import enumerate as enumerate_threads

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orphan_pipeline.errors import Refused
from orphan_pipeline.inventory.columns import LISTED, VERSIONS
from orphan_pipeline.inventory.listing.asking import Question, answering
from orphan_pipeline.inventory.listing.chain import LeftOut, OutOfOrder
from orphan_pipeline.inventory.listing.lister import FOLDERS_A_WORKER, PAGES_AHEAD, Lister
from orphan_pipeline.inventory.listing.page import BrokenPage, Page, Token
from orphan_pipeline.inventory.listing.ranges import Piece
from orphan_pipeline.inventory.listing.transport import TURN

KEYS = st.sets(
    st.text("ab/", min_size=1, max_size=6)
    | st.text(st.characters(codec="utf-8"), min_size=1, max_size=5)
    | st.integers(0, 999).map(lambda n: f"uploads/{n:06d}")
    | st.tuples(st.sampled_from("abc"), st.integers(0, 50)).map(lambda t: f"uploads/{t[0]}/{t[1]}"),
    max_size=120,
)


class Store:
    """ListObjectsV2 over a set of keys, in any order, a few keys a page. Answers what `Asker.ask` answers, and like it gives up the turn
    meanwhile."""

    def __init__(self, keys: set[str], *, page: int = 3, order: Callable[[str], object] = lambda key: key) -> None:
        self.keys, self.page, self.order = sorted(keys, key=order), page, order  # type: ignore[arg-type]
        self.requests = self.retried = 0
        self._lock = Lock()
        self.stopped = False

    def stop(self) -> None:
        self.stopped = True

    def ask(self, question: Question) -> Page:
        with TURN.given_up(), self._lock:
            self.requests += 1
        start = int(str(question.token)) if question.token is not None else 0
        after = "" if question.token is not None else question.after
        most = question.most or self.page
        found: list[str] = []
        folders: list[str] = []
        place = start
        while place < len(self.keys) and len(found) + len(folders) < most:
            key = self.keys[place]
            place += 1
            if not key.startswith(question.prefix) or (after and not self.order(key) > self.order(after)):  # type: ignore[operator]
                continue
            rest = key[len(question.prefix) :]
            if question.delimiter and "/" in rest:
                folder = question.prefix + rest[: rest.index("/") + 1]
                if not folders or folders[-1] != folder:
                    folders.append(folder)
                while place < len(self.keys) and self.keys[place].startswith(folder):
                    place += 1
            else:
                found.append(key)
        left = any(key.startswith(question.prefix) for key in self.keys[place:])
        return Page(
            objects=batch_of(found),
            common_prefixes=tuple(folders),
            truncated=left,
            next_token=str(place) if left else None,
            fast=True,
        )


def batch_of(keys: list[str]) -> pa.RecordBatch:
    n = len(keys)
    return pa.RecordBatch.from_pydict(
        {"key": keys, "size": [1] * n, "last_modified": [0] * n, "etag": ["e"] * n, "storage_class": ["STANDARD"] * n}, schema=LISTED
    )


def listed(
    store: "Store | Answering", *, concurrency: int = 4, in_order: bool = True, cuts: tuple[str, ...] = (), declared: tuple[str, ...] = ()
) -> tuple[list[str], Lister]:
    lister = Lister(store, "b", concurrency=concurrency, in_order=in_order, cuts=cuts, declared=declared)  # type: ignore[arg-type]
    keys = [str(key) for batch in lister.batches() for key in batch["key"].to_pylist()]
    return sorted(keys), lister


@settings(deadline=None, max_examples=150)
@given(keys=KEYS, concurrency=st.integers(1, 8), page=st.integers(1, 7))
def test_every_object_exactly_once_in_order(keys: set[str], concurrency: int, page: int) -> None:
    found, lister = listed(Store(keys, page=page), concurrency=concurrency)
    assert found == sorted(keys)
    assert sum(piece.objects for piece in lister.figures().pieces) == len(keys)


@settings(deadline=None, max_examples=150)
@given(keys=KEYS, cuts=st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=4), unique=True, max_size=5))
def test_every_object_exactly_once_with_cuts_from_the_last_inventory(keys: set[str], cuts: list[str]) -> None:
    found, _ = listed(Store(keys), cuts=tuple(sorted(cuts)))
    assert found == sorted(keys)


def random_tree_order(seed: int) -> Callable[[str], list[float]]:
    """Folders stay together, as in every store that lists a tree; the order within is any."""
    rank: dict[str, float] = {}
    numbers = random.Random(seed)

    def order(key: str) -> list[float]:
        parts = key.split("/")
        return [
            rank.setdefault("/".join(parts[: n + 1]) + ("/" if n + 1 < len(parts) else ""), numbers.random()) for n in range(len(parts))
        ]

    return order


@settings(deadline=None, max_examples=150)
@given(keys=KEYS, seed=st.integers())
def test_a_store_in_another_order_is_listed_by_folders_alone(keys: set[str], seed: int) -> None:
    found, lister = listed(Store(keys, order=random_tree_order(seed)), in_order=False)
    assert found == sorted(keys)
    assert all(piece.after == "" for piece in lister.figures().pieces)


def test_many_keys_in_one_folder_are_cut_and_shared() -> None:
    keys = {f"uploads/{n:06d}" for n in range(3000)}
    found, lister = listed(Store(keys, page=10), concurrency=8)
    assert found == sorted(keys)
    assert lister.figures().ranges > 1


def test_a_place_to_cut_is_found_by_few_questions_below_many_empty_ones() -> None:
    """Numbers with many leading zeros: to go down from the end by halves, one question each, took one for each half."""
    asked: list[Question] = []

    class Probed(Store):
        def ask(self, question: Question) -> Page:
            if question.most == 1:
                asked.append(question)
            return super().ask(question)

    keys = {f"uploads/{n:012d}" for n in range(300)}
    lister = Lister(Probed(keys), "b", concurrency=2, in_order=True)  # type: ignore[arg-type]
    victim = Piece(prefix="uploads/", position="uploads/000000000009")
    lister._active.append(victim)
    piece = lister._cut(victim)
    assert piece is not None
    assert piece.after == victim.until == "uploads/0000000002"  # the highest step down that has keys after it
    assert len(asked) <= 8


def test_an_order_that_turns_out_wrong_after_a_cut_throws_all_away() -> None:
    keys = {f"uploads/{n:06d}" for n in range(500)}
    store = Store(keys, order=lambda key: key[::-1])
    with pytest.raises(OutOfOrder, match="does not list in UTF-8 order"):
        listed(store, cuts=("uploads/000250",))


def test_a_list_that_goes_in_a_circle_is_refused() -> None:
    class Circle(Store):
        def ask(self, question: Question) -> Page:
            tokens: dict[Token | None, str] = {None: "1", "1": "2", "2": "3", "3": "1"}
            return Page(objects=batch_of([]), common_prefixes=(), truncated=True, next_token=tokens[question.token], fast=True)

    with pytest.raises(Refused, match="goes in a circle"):
        listed(Circle(set()))


def test_a_failure_of_one_piece_fails_the_whole_listing() -> None:
    class Failing(Store):
        def ask(self, question: Question) -> Page:
            if question.prefix == "c/":
                raise Refused("listing c/ failed")
            return super().ask(question)

    with pytest.raises(Refused, match="listing c/ failed"):
        listed(Failing({f"{folder}/{n}" for folder in "abcdef" for n in range(20)}, page=100))


def test_a_reader_that_stops_early_leaves_no_thread_behind() -> None:
    lister = Lister(Store({f"uploads/{n:06d}" for n in range(3000)}), "b", concurrency=4, in_order=True)  # type: ignore[arg-type]
    before = set(enumerate_threads())  # some of them are other tests' servers', and end when they like
    with closing(lister.batches()) as batches:
        next(batches)
        assert set(enumerate_threads()) - before
    assert not set(enumerate_threads()) - before


def tree_order(key: str) -> list[str]:
    """As a store that lists a tree: `2026/` before `2026-01/`."""
    return key.split("/")


def test_a_store_that_lists_a_tree_never_loses_objects_to_cuts_of_its_own_last_inventory() -> None:
    keys = {f"2026-01/{n:05d}" for n in range(900)} | {f"2026/{n:05d}" for n in range(60)}
    cuts = tuple(sorted(keys)[:: len(keys) // 20])
    with pytest.raises(OutOfOrder, match="does not list in UTF-8 order"):
        listed(Store(keys, page=50, order=tree_order), cuts=cuts)
    assert listed(Store(keys, page=50, order=tree_order), in_order=False)[0] == sorted(keys)


@pytest.mark.parametrize("started", [None, datetime(1970, 1, 1, tzinfo=UTC), datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)])
def test_a_key_behind_a_cut_is_left_out_only_if_it_was_there_before_the_listing_began(started: datetime | None) -> None:
    """The range before it names it, and the range that should hold it does not. All was written at the beginning of 1970."""
    keys = {f"k{n:02d}" for n in range(20)}

    def spoil(question: Question, page: Page) -> Page:
        late = question.after == "k09" and question.most is None
        return replace(page, objects=page.objects.slice(1)) if late else page

    lister = Lister(Answering(Store(keys, page=30), spoil), "b", concurrency=1, in_order=True, cuts=("k09",), started=started)  # type: ignore[arg-type]
    if started is not None and started.second == 0:
        assert len([key for batch in lister.batches() for key in batch["key"].to_pylist()]) == len(keys) - 1
        return
    with pytest.raises(LeftOut, match="bucket b: the list left out 'k10', which the store names now"):
        list(lister.batches())


class Busy(Store):
    """A bucket that is worked on: at each request the oldest key of a queue goes, and an upload with a rising name comes; when the chain of
    ranges is proven, at the first four requests."""

    def __init__(self, keys: set[str], *, page: int) -> None:
        super().__init__(keys, page=page)
        self.new: set[str] = set()
        self.single = 0

    def ask(self, question: Question) -> Page:
        page = super().ask(question)
        self.single += question.most == 1
        if self.single <= 4:
            self.keys.remove(next(key for key in self.keys if key.startswith("work/")))
            self.new.add(f"uploads/{len(self.new) + 500:06d}")
            self.keys = sorted({*self.keys, *self.new})
        later = [datetime(1971 if key in self.new else 1970, 1, 1, tzinfo=UTC) for key in page.objects["key"].to_pylist()]
        place = page.objects.schema.get_field_index("last_modified")
        return replace(
            page, objects=page.objects.set_column(place, "last_modified", pa.array(later, page.objects.schema.field(place).type))
        )


def test_a_bucket_that_is_worked_on_while_it_is_listed_lists_in_order() -> None:
    """Regression: the first key behind a cut was another each time it was asked for, and cutting by keys was taken from the bucket for
    good; or an upload that had just come before the cut was called left out, every night."""
    stay = {f"uploads/{n:06d}" for n in range(300)} | {f"work/{n:06d}" for n in range(400, 600)}
    store = Busy(stay | {f"work/{n:06d}" for n in range(200)}, page=7)
    cuts = ("uploads/000150", "uploads0", "work/000450")
    lister = Lister(store, "b", concurrency=1, in_order=True, cuts=cuts, started=datetime(1970, 6, 1, tzinfo=UTC))  # type: ignore[arg-type]
    found = [key for batch in lister.batches() for key in batch["key"].to_pylist()]
    assert len(found) == len(set(found))
    assert stay <= set(found)
    assert lister.figures().in_order


def test_keys_that_a_page_never_showed_between_two_pieces_are_noticed() -> None:
    keys = {f"a/{n:04d}" for n in range(300)} | {f"a!{n}" for n in range(20)}
    with pytest.raises(OutOfOrder, match="does not list in UTF-8 order"):
        listed(Store(keys, page=1000, order=lambda key: key.replace("!", "~")), cuts=("a!10",))


@settings(deadline=None, max_examples=200)
@given(keys=KEYS, cuts=st.lists(st.text("ab!/~", min_size=1, max_size=3), unique=True, max_size=4), page=st.integers(1, 9))
def test_whatever_the_order_the_list_is_whole_or_out_of_order(keys: set[str], cuts: list[str], page: int) -> None:
    store = Store(keys, page=page, order=lambda key: (key.lower().swapcase(), key))
    try:
        found, _ = listed(store, cuts=tuple(sorted(cuts)))
    except OutOfOrder:
        return
    assert found == sorted(keys)


def test_a_folder_at_the_border_of_two_pages_is_listed_once() -> None:
    class Border(Store):
        def ask(self, question: Question) -> Page:
            if question.delimiter and not question.prefix:
                second = question.token is not None
                return Page(
                    objects=batch_of([]),
                    common_prefixes=("b/", "c/") if second else ("a/", "b/"),
                    truncated=not second,
                    next_token=None if second else "t",
                    fast=True,
                )
            return super().ask(question)

    keys = {"a/1", "b/1", "b/2", "c/1"}
    assert listed(Border(keys, page=100), in_order=False)[0] == sorted(keys)


def test_a_key_at_the_border_of_two_pages_is_listed_once() -> None:
    class Border(Store):
        def ask(self, question: Question) -> Page:
            second = question.token is not None
            keys = ["k2", "k3"] if second else ["k1", "k2"]
            return Page(objects=batch_of(keys), common_prefixes=(), truncated=not second, next_token=None if second else "t", fast=True)

    assert listed(Border(set()), in_order=False)[0] == ["k1", "k2", "k3"]


def test_a_store_that_will_not_be_probed_is_listed_without_cuts() -> None:
    class NoProbe(Store):
        def ask(self, question: Question) -> Page:
            if question.most == 1:
                raise Refused("StartAfter is not supported")
            return super().ask(question)

    keys = {f"uploads/{n:06d}" for n in range(400)}
    assert listed(NoProbe(keys, page=10))[0] == sorted(keys)


def test_when_the_reader_stops_so_does_the_listing() -> None:
    store = Store({f"uploads/{n:06d}" for n in range(20_000)}, page=10)
    batches = Lister(store, "b", concurrency=2, in_order=True).batches()  # type: ignore[arg-type]
    next(batches)
    batches.close()
    assert store.stopped
    assert store.requests < 4 * PAGES_AHEAD, "what was read, what may wait for the reader, and looks for cuts"


def test_a_worker_that_ends_by_no_ordinary_error_still_fails_the_listing() -> None:
    class Dying(Store):
        def ask(self, question: Question) -> Page:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        listed(Dying({"a"}))


@settings(deadline=None, max_examples=150)
@given(
    keys=KEYS,
    declared=st.sets(st.sampled_from(["a/", "b/", "a/b/", "ab/", "a/a/b/", "uploads/", "uploads/a/", "none/"]), max_size=4),
    in_order=st.booleans(),
    page=st.integers(1, 7),
)
def test_every_object_exactly_once_whatever_is_declared(keys: set[str], declared: set[str], in_order: bool, page: int) -> None:
    found, lister = listed(Store(keys, page=page), in_order=in_order, declared=tuple(sorted(declared)))
    assert found == sorted(keys)
    assert sum(piece.objects for piece in lister.figures().pieces) == len(keys)


@pytest.mark.parametrize("in_order", [True, False])
def test_a_declared_prefix_is_a_piece_of_its_own_however_deep_it_lies(in_order: bool) -> None:
    keys = {f"{above}{n}" for above in ("a/b/c/", "a/b/d/", "a/x/", "z/y/") for n in range(5)}
    found, lister = listed(Store(keys, page=100), in_order=in_order, declared=("a/b/c/",))
    assert found == sorted(keys)
    assert "a/b/c/" in {piece.prefix for piece in lister.figures().pieces}


def test_what_is_declared_is_cut_off_where_folders_are_too_many_to_be_asked_for() -> None:
    keys = {f"{n:03d}/x" for n in range(700)} | {f"uploads/{n:03d}" for n in range(50)} | {"uploads", "uploads0", "uploads/"}
    found, lister = listed(Store(keys, page=1000), declared=("uploads/",))
    assert found == sorted(keys)
    assert {"uploads/", "uploads0"} <= {piece.after for piece in lister.figures().pieces}


def test_requests_are_bounded_where_folders_are_many_and_nearly_empty() -> None:
    keys = {f"{a:02d}/{b:02d}/{c:02d}/x" for a in range(20) for b in range(20) for c in range(20)}
    store = Store(keys, page=1000)
    found, _ = listed(store, in_order=False, concurrency=1)
    assert found == sorted(keys)
    assert store.requests < 4 * FOLDERS_A_WORKER


class LateFolders(Store):
    """Names the objects at the top first and folders after them, so that the first page shows no folder."""

    def __init__(self, keys: set[str], *, page: int) -> None:
        super().__init__(keys, page=page, order=lambda key: (key.count("/"), key[::-1]))

    def ask(self, question: Question) -> Page:
        if not question.delimiter:
            return super().ask(question)
        self.requests += 1
        below = [key for key in self.keys if key.startswith(question.prefix)]
        steps = dict.fromkeys(question.prefix + "/".join(key[len(question.prefix) :].split("/")[:1]) for key in below if key)
        names = [step if step in self.keys and "/" not in step[len(question.prefix) :] else f"{step}/" for step in steps]
        start = int(str(question.token or 0))
        found = names[start : start + self.page]
        more = start + self.page < len(names)
        return Page(
            objects=batch_of([name for name in found if not name.endswith("/")]),
            common_prefixes=tuple(name for name in found if name.endswith("/")),
            truncated=more,
            next_token=str(start + self.page) if more else None,
            fast=True,
        )


@pytest.mark.parametrize("declared", [(), ("f00019/",), ("f00019/sub/",)])
def test_folders_that_show_late_are_bounded_and_every_object_is_there_once(declared: tuple[str, ...]) -> None:
    folders = 20 * FOLDERS_A_WORKER
    keys = {f"top{n:04d}" for n in range(400)} | {f"f{n:05d}/{part}" for n in range(folders) for part in ("x", "é/y", "sub/z")}
    store = LateFolders(keys, page=100)
    found, lister = listed(store, in_order=False, concurrency=2, declared=declared)
    assert found == sorted(keys)
    figures = lister.figures()
    assert figures.ranges < 4 * FOLDERS_A_WORKER
    assert store.requests < 4 * FOLDERS_A_WORKER
    assert sum(piece.objects for piece in figures.pieces) == len(keys)
    assert any(piece.besides for piece in figures.pieces)
    if declared:
        assert declared[0] in {piece.prefix for piece in figures.pieces}


@settings(deadline=None, max_examples=100)
@given(keys=KEYS, few=st.integers(0, 3), page=st.integers(1, 7), seed=st.none() | st.integers())
def test_every_object_exactly_once_however_few_folders_are_asked_for(keys: set[str], few: int, page: int, seed: int | None) -> None:
    """A store in order, or one that lists a tree in an order of its own."""
    store = Store(keys, page=page) if seed is None else Store(keys, page=page, order=random_tree_order(seed))
    lister = Lister(Answering(store), "b", concurrency=3, in_order=seed is None)  # type: ignore[arg-type]
    lister._folders_left = few
    assert sorted(str(key) for batch in lister.batches() for key in batch["key"].to_pylist()) == sorted(keys)


class Answering:
    """Like the asker: a page that is no answer is asked for again, and given up some time. `spoil` may put another page in its place."""

    def __init__(self, store: Store, spoil: Callable[[Question, Page], Page] = lambda _question, page: page) -> None:
        self.store, self.spoil, self.requests, self.retried = store, spoil, 0, 0

    def stop(self) -> None:
        self.store.stop()

    def ask(self, question: Question) -> Page:
        for _ in range(3):
            page = self.spoil(question, self.store.ask(question))
            try:
                return answering(page, question)
            except BrokenPage:
                self.retried += 1
        raise Refused(f"listing {question} failed 3 times")


class Again:
    """In the place of a later page of some lists, an earlier one of the same list comes, and the list goes on after it."""

    def __init__(self, *, delimiter: bool, at: int, earlier: int, times: int | None) -> None:
        self.delimiter, self.at, self.earlier = delimiter, at, earlier
        self.left = itertools.count() if times is None else iter(range(times))
        self.sent: dict[Token | None, Page] = {}
        self.spoilt = 0

    def __call__(self, question: Question, page: Page) -> Page:
        if question.prefix or question.delimiter != self.delimiter or question.most is not None:
            return page
        self.sent.setdefault(question.token, page)
        pages = list(self.sent.values())
        if question.token not in list(self.sent)[self.at - 1 : self.at] or next(self.left, None) is None:
            return page
        self.spoilt += 1
        return replace(pages[self.earlier], truncated=page.truncated, next_token=page.next_token)


REPEATED_LISTS = [
    # Nine folders, three a page.
    pytest.param({f"f{n}/{m}" for n in range(9) for m in range(4)}, True, (), FOLDERS_A_WORKER, 3, id="folders"),
    pytest.param({f"f{n}/{m}" for n in range(9) for m in range(4)}, True, ("f0/",), 0, 3, id="folders beyond the budget"),
    # The rows of the first four pages are those of a folder that is a piece of its own.
    pytest.param(
        {f"f0/{m:03d}" for m in range(12)} | {f"g{n}/{m}" for n in range(6) for m in range(4)}, False, ("f0/",), 0, 5, id="besides"
    ),
]


@pytest.mark.parametrize("in_order", [False, True])
@pytest.mark.parametrize(("keys", "delimiter", "declared", "budget", "at"), REPEATED_LISTS)
@pytest.mark.parametrize("back", [1, 2])
def test_a_page_that_comes_again_in_the_place_of_another_is_asked_for_again(
    keys: set[str], delimiter: bool, declared: tuple[str, ...], budget: int, at: int, back: int, in_order: bool
) -> None:
    """Nothing of it is written, so that no row comes twice. In order too, where keys were not allowed to cut."""

    def taken(times: int | None) -> list[str]:
        spoil = Again(delimiter=delimiter, at=at, earlier=at - 1 - back, times=times)
        asker = Answering(Store(keys), spoil)
        lister = Lister(asker, "b", concurrency=2, in_order=in_order, declared=declared)  # type: ignore[arg-type]
        lister._may_cut, lister._folders_left = False, 2 * budget
        found = [str(key) for batch in lister.batches() for key in batch["key"].to_pylist()]
        assert asker.retried == spoil.spoilt == 1
        return sorted(found)

    assert taken(1) == sorted(keys)
    with pytest.raises(Refused, match="listing prefix '' failed 3 times"):
        taken(None)


def test_a_folder_that_is_named_again_later_is_refused() -> None:
    """On a page that is not one of those before."""
    keys = {f"f{n}/{m}" for n in range(9) for m in range(4)}

    def spoil(question: Question, page: Page) -> Page:
        mixed = question.delimiter and question.token is not None and "f3/" in page.common_prefixes
        return replace(page, common_prefixes=("f0/", *page.common_prefixes[1:])) if mixed else page

    with pytest.raises(Refused, match="the list of prefix '' names the folder 'f0/' twice"):
        listed(Answering(Store(keys), spoil), in_order=False)


def test_a_page_that_does_not_rise_once_takes_nothing_from_the_bucket() -> None:
    """It is asked for again, and keys go on cutting."""
    keys = {f"uploads/{n:04d}" for n in range(600)}
    first: list[Page] = []
    spoilt: list[Page] = []

    def spoil(question: Question, page: Page) -> Page:
        if question.most is not None:
            return page
        first.append(page)
        if len(first) == 4:
            spoilt.append(page)
            return replace(first[0], truncated=page.truncated, next_token=page.next_token)
        return page

    found, lister = listed(Answering(Store(keys, page=10), spoil), cuts=("uploads/0300",))
    assert spoilt
    assert found == sorted(keys)
    assert lister.figures().in_order


def test_declared_folders_beyond_the_budget_cost_no_more_than_their_own_lists() -> None:
    keys = {f"f{n}/{m}" for n in range(5) for m in range(3)} | {"g/1"}
    lister = Lister(Store(keys, page=1000), "b", concurrency=1, in_order=False, declared=tuple(f"f{n}/" for n in range(5)))  # type: ignore[arg-type]
    lister._folders_left = 2
    assert len([key for batch in lister.batches() for key in batch["key"].to_pylist()]) == len(keys)
    assert lister._folders_left == 0


def test_only_what_comes_in_order_cannot_come_twice() -> None:
    keys = {f"a/{n}" for n in range(50)}
    assert not listed(Store(keys))[1].may_repeat()
    assert listed(Store(keys), in_order=False)[1].may_repeat()

    class NoFolders(Store):
        def ask(self, question: Question) -> Page:
            return super().ask(Question(prefix=question.prefix, after=question.after, token=question.token, most=question.most))

    assert listed(NoFolders(keys, page=100))[1].may_repeat()


def test_the_range_of_a_key_is_named_as_it_was_asked_for() -> None:
    keys = {f"a/{n:03d}" for n in range(50)} | {"b"}
    assert listed(Store(keys, page=100), in_order=False)[1].range_of("a/007") == "prefix 'a/'"
    assert listed(Store(keys, page=100), cuts=("a/010",))[1].range_of("a/020") == "prefix '' after 'a/010'"


def test_progress_tells_pages_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.chain([100.0], itertools.repeat(104.0))
    monkeypatch.setattr("orphan_pipeline.inventory.listing.lister.monotonic", lambda: next(clock))
    _, lister = listed(Store({f"a{n:03d}" for n in range(60)}, page=3), in_order=False)
    assert lister.detail() == "20 pages, 5 pages/s, 1 ranges done, 0 to go, 0 requests retried"


class Versions:
    """ListObjectVersions over keys with so many versions each, the last of some of them a delete marker."""

    def __init__(self, versions: dict[str, int], *, page: int, after_is_included: bool) -> None:
        self.after_is_included = after_is_included
        self.rows = [(key, f"v{n}", n == 0) for key in sorted(versions) for n in range(versions[key])]
        self.page, self.requests, self.retried = page, 0, 0

    def stop(self) -> None:
        """Nothing waits here."""

    def ask(self, question: Question) -> Page:
        rows = [row for row in self.rows if row[0].startswith(question.prefix)]
        if isinstance(question.token, tuple):
            start = 1 + next(n for n, row in enumerate(rows) if row[:2] == question.token)
        else:
            within = [row[0] > question.after or (self.after_is_included and row[0] == question.after) for row in rows]
            start = within.index(True) if True in within else len(rows)
        found: list[tuple[str, str, bool]] = []
        folders: list[str] = []
        last = None
        for row in rows[start:]:
            rest = row[0][len(question.prefix) :]
            folder = question.prefix + rest[: rest.index("/") + 1] if question.delimiter and "/" in rest else None
            if folder is not None and folder in folders:
                last = row
                continue
            if len(found) + len(folders) == (question.most or self.page):
                break
            last = row
            if folder is None:
                found.append(row)
            else:
                folders.append(folder)
        more = last is not None and last != rows[-1]
        names = ("key", "version_id", "is_latest")
        same = {"size": 1, "last_modified": 0, "etag": "e", "storage_class": "STANDARD", "is_delete_marker": False}
        return Page(
            objects=pa.RecordBatch.from_pylist([{**same, **dict(zip(names, row, strict=True))} for row in found], schema=VERSIONS),
            common_prefixes=tuple(folders),
            truncated=more,
            next_token=last[:2] if more and last is not None else None,
            fast=True,
        )


@settings(deadline=None, max_examples=150)
@given(
    versions=st.dictionaries(
        st.text("ab/", min_size=1, max_size=6) | st.integers(0, 99).map(lambda n: f"uploads/{n:03d}"), st.integers(1, 5), max_size=40
    ),
    page=st.integers(1, 7),
    cuts=st.lists(st.text("ab/", min_size=1, max_size=3), unique=True, max_size=3),
    after_is_included=st.booleans(),
)
def test_every_version_exactly_once(versions: dict[str, int], page: int, cuts: list[str], after_is_included: bool) -> None:
    store = Versions(versions, page=page, after_is_included=after_is_included)
    lister = Lister(store, "b", concurrency=3, in_order=True, cuts=tuple(sorted(cuts)), versions=True)  # type: ignore[arg-type]
    try:
        found = [(row["key"], row["version_id"], row["is_latest"]) for batch in lister.batches() for row in batch.to_pylist()]
    except OutOfOrder:
        assert after_is_included
        return
    assert sorted(found) == sorted(store.rows)
    assert sum(piece.objects for piece in lister.figures().pieces) == len(store.rows)


def test_a_version_that_a_page_leaves_out_is_found_where_the_store_begins_with_the_key_it_was_asked_after() -> None:
    """Asked for one row after a cut, such a store names the key of the cut itself."""
    store = Versions({f"k{n:03d}": 2 for n in range(60)}, page=10, after_is_included=True)
    first = iter([True])

    def spoil(question: Question, page: Page) -> Page:
        if (question.after, question.token, question.most) == ("k020", None, None) and next(first, False):
            page = replace(page, objects=page.objects.filter(pc.not_equal(page.objects["key"], pa.scalar("k021"))))
        return page

    spoilt = Answering(store, spoil)  # type: ignore[arg-type]
    lister = Lister(spoilt, "b", concurrency=3, in_order=True, cuts=("k020", "k040"), versions=True)  # type: ignore[arg-type]
    with pytest.raises(LeftOut, match="the list left out 'k021', which the store names now"):
        deque(lister.batches(), maxlen=0)


@pytest.mark.parametrize("folder", ["u/a", "u/a/b/", "b/", "u/", "u//x/"])
def test_what_is_no_folder_just_below_the_prefix_is_not_believed(folder: str) -> None:
    """Objects below it would be listed twice, or not at all."""
    page = Page(objects=batch_of([]), common_prefixes=(folder,), truncated=False, next_token=None, fast=True)
    with pytest.raises(BrokenPage, match="as a folder below the prefix"):
        answering(page, Question(prefix="u/"))


def test_half_a_place_to_go_on_from_is_not_believed() -> None:
    """The rest of the versions of that key would be passed over. A store that ends its pages between keys says no more."""
    store = Versions({"a": 3, "b": 1}, page=2, after_is_included=False)
    page = store.ask(Question())
    with pytest.raises(BrokenPage, match="and not after which version of it"):
        answering(replace(page, next_token=("a", "")), Question())
    assert answering(page, Question()) is page
