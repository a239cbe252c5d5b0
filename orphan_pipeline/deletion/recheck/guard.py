"""Rule 10 as a guard: the keys of each chunk are asked of the databases before it goes, never longer before a request than
`recheck_max_age`, and once more after it went; what is in use by then is brought back. What the databases say is found out in
`references.recheck`.

Chunks are asked about in blocks, and one question serves both ends: the keys of the chunks that are to come, and of those that
went since the last one.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from threading import Lock
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq
from tenacity import Retrying, retry_if_result, stop_after_attempt, wait_random_exponential

from orphan_pipeline.deletion.ledger import GONE, Answer, Ledger, Planned
from orphan_pipeline.deletion.noted import read_noted, write_noted
from orphan_pipeline.deletion.recheck.blocks import Block, block_size, read_block
from orphan_pipeline.deletion.undo.at_once import BringBack
from orphan_pipeline.deletion.undo.outcomes import NOTHING_LEFT_TO_DO
from orphan_pipeline.elapsed import elapsed
from orphan_pipeline.errors import Refused
from orphan_pipeline.references.recheck.asking import Asked
from orphan_pipeline.references.recheck.ways import KEYS_EXPLAINED, Keys, Way

SHOWN = 10
ATTEMPTS = 4
MAY_PASS = ("lost", "refused")
NO_KEYS: Keys = pa.chunked_array([], pa.string())
NOTED = "asked_after.json"
"""In a ledger: the finished chunks whose keys were asked of the databases once more."""


class Asks(Protocol):
    """`references.recheck.asking.Asker`."""

    def ways(self, keys: Keys) -> Sequence[Way]: ...

    def ask(self, keys: Keys) -> Asked: ...


@dataclass(slots=True)
class Figures:
    """What the re-check did in one run."""

    questions: int = 0
    keys: int = 0
    seconds: float = 0.0
    held: Counter[str] = field(default_factory=Counter)
    """By source."""
    brought_back: dict[str, str] = field(default_factory=dict)
    """What was in use after it had gone, and the restore's outcome."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gone:
    """What went in one chunk, and when that was told."""

    keys: pa.StringArray
    told: float


class Recheck:
    """See `Guard`. One of the callers asks at a time; the others go on with what is known, or wait for what is being asked."""

    def __init__(
        self,
        *,
        asker: Asks,
        plan: Path,
        ledger: Ledger,
        max_age: timedelta,
        keys_per_second: int,
        bring_back: BringBack,
        report: Callable[[str], None],
    ) -> None:
        self._asker, self._plan, self._ledger, self._bring_back, self._report = asker, plan, ledger, bring_back, report
        _, sample = read_block(plan, 0, 1 + KEYS_EXPLAINED // 1000)
        self._ways = asker.ways(sample)
        self._max_age = max_age
        self._size = block_size(by_index=all(way.form is not None for way in self._ways), max_age=max_age, keys_per_second=keys_per_second)
        self._asking, self._changing = Lock(), Lock()
        self._blocks: tuple[Block, ...] = ()
        self._noted = read_noted(ledger.folder / NOTED)
        self._gone = self._left_by_former_runs()
        self.figures = Figures()
        for words in self.words:
            report(f"asking again: source {words}")

    @property
    def words(self) -> list[str]:
        """How each source is asked, a line each."""
        return [f"{way.source.name} {way.words}" for way in self._ways]

    def before(self, chunk: int, planned: Sequence[Planned]) -> Mapping[str, Answer]:
        block = self._known(chunk)
        if block is None:
            with self._asking:
                block = self._known(chunk) or self._ask(chunk)
        if len(planned) > block.chunks[chunk]:
            raise Refused(f"{self._plan}: chunk {chunk} has {block.chunks[chunk]} keys, expected {len(planned)}: was the plan edited?")
        return {one.key: Answer("referenced_again", code=block.in_use[one.key]) for one in planned if one.key in block.in_use}

    before_request = before

    def after(self, chunk: int, planned: Sequence[Planned], answers: Sequence[Answer]) -> None:
        keys = [one.key for one, answer in zip(planned, answers, strict=True) if answer.outcome in GONE]
        with self._changing:
            self._gone[chunk] = _Gone(keys=pa.array(keys, pa.string()), told=elapsed())
            self.figures.held.update(answer.code or "" for answer in answers if answer.outcome == "referenced_again")
        if self._due():
            with self._asking:
                if self._due():
                    self._ask_with(NO_KEYS, self._oldest())

    def finish(self) -> None:
        """Asks after every chunk that is left, also behind one whose keys do not come back. Raises Refused for the first of those."""
        refused: list[Refused] = []
        with self._asking:
            left = list(self._gone)
            for first in range(0, len(left), self._size.chunks):
                try:
                    self._ask_with(NO_KEYS, left[first : first + self._size.chunks])
                except Refused as error:
                    refused.append(error)
        if refused:
            raise refused[0]

    def _known(self, chunk: int) -> Block | None:
        return next((block for block in reversed(self._blocks) if block.answers(chunk)), None)

    def _ask(self, chunk: int) -> Block:
        """About this chunk and those behind it, and about what went since the last question."""
        chunks, coming = read_block(self._plan, chunk, self._size.chunks, finished=self._ledger.finished)
        if chunk not in chunks:
            raise Refused(f"{self._plan}: there is no chunk {chunk}: was the plan edited?")
        while True:
            asked = self._ask_with(coming, self._oldest(), chunks=chunks)
            if asked.seconds >= self._max_age.total_seconds():
                raise Refused(
                    f"asking the databases again took {asked.seconds:.0f} s, longer than an answer may be used "
                    f"({self._max_age.total_seconds():.0f} s): make the index that `check` names, or raise deletion.recheck_max_age"
                )
            block = self._known(chunk)
            if block is not None:
                return block
            # Bringing back took so long that the answer is old: nothing is left to be brought back, so the next one will not be.

    def _use_for(self, asked: Asked) -> float:
        """Seconds. Where asking is slow for once, an answer is worth a little more, but never beyond `max_age`."""
        return min(self._max_age.total_seconds(), max(self._size.seconds, 3 * asked.seconds))

    def _oldest(self) -> list[int]:
        with self._changing:
            return list(self._gone)[: self._size.chunks]

    def _ask_with(self, coming: Keys, after: Sequence[int], *, chunks: Mapping[int, int] | None = None) -> Asked:
        """`coming`: the keys of `chunks`. What is asked after is what was gone before the question: the chunks `after`."""
        with self._changing:
            gone = {chunk: self._gone[chunk] for chunk in after}
        keys = pa.chunked_array([*coming.chunks, *(one.keys for one in gone.values())], pa.string())
        asked = self._asker.ask(keys) if len(keys) else Asked(in_use={}, began=elapsed(), seconds=0.0)
        self.figures.questions += bool(len(keys))
        self.figures.keys += len(keys)
        self.figures.seconds += asked.seconds
        if chunks:  # before anything is brought back, which takes its time: the other workers must not go on with what was known before
            block = Block(chunks=chunks, in_use=asked.in_use, until=asked.began + self._use_for(asked))
            self._blocks = (*(known for known in self._blocks if known.fresh), block)
        stay_away = self._bring_back_of(gone, asked.in_use)
        self._noted = self._noted.with_chunks(gone.keys() - stay_away.keys())
        write_noted(self._ledger.folder / NOTED, self._noted)
        with self._changing:
            for chunk in gone.keys() - stay_away.keys():
                del self._gone[chunk]
        if stay_away:
            raise Refused(stay_away[min(stay_away)])
        return asked

    def _due(self) -> bool:
        """By index, what went waits no longer than an answer may be used; with passes, for the next pass."""
        with self._changing:
            waiting = list(self._gone.values())
        by_index = all(way.form is not None for way in self._ways)
        return by_index and (len(waiting) >= self._size.chunks or any(elapsed() - one.told >= self._size.seconds for one in waiting))

    def _bring_back_of(self, gone: Mapping[int, _Gone], in_use: Mapping[str, str]) -> dict[int, str]:
        """Whatever is in use must stand again; of each chunk of which it does not, the line that says which key."""
        back = {chunk: [key for key in map(str, one.keys.to_pylist()) if key in in_use] for chunk, one in gone.items()} if in_use else {}
        back = {chunk: keys for chunk, keys in back.items() if keys}
        if not back:
            return {}
        keys = [key for some in back.values() for key in some]
        outcomes = self._brought_back(keys, sorted(back))
        self.figures.brought_back.update(outcomes)
        for key in keys[:SHOWN]:
            self._report(f"asked again after its chunk: source {in_use[key]} is using {key!r}: {outcomes.get(key, 'not looked at')}")
        if len(keys) > SHOWN:
            self._report(f"asked again after their chunks: {len(keys) - SHOWN:,} more keys are in use and were brought back")
        stay_away: dict[int, str] = {}
        for chunk, key in ((chunk, key) for chunk, some in back.items() for key in some):
            outcome = outcomes.get(key, "not looked at")
            if outcome not in NOTHING_LEFT_TO_DO:
                words = f"{key!r} became referenced by source {in_use[key]} after it was deleted, and could not be brought back ({outcome})"
                stay_away.setdefault(chunk, f"{words}: orphan-pipeline restore --key {key!r}")
        return stay_away

    def _brought_back(self, keys: Sequence[str], chunks: Sequence[int]) -> dict[str, str]:
        """The application may be writing under these very keys: what seems lost is looked at again before it is called so."""
        outcomes: dict[str, str] = {}

        def attempt() -> list[str]:
            outcomes.update(self._bring_back([key for key in keys if outcomes.get(key) not in NOTHING_LEFT_TO_DO], chunks))
            return [key for key in keys if outcomes.get(key) in MAY_PASS]

        Retrying(
            retry=retry_if_result(bool),
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_random_exponential(multiplier=0.5, max=5),
            retry_error_callback=lambda _: None,
        )(attempt)
        return outcomes

    def _left_by_former_runs(self) -> dict[int, _Gone]:
        """What went in chunks that were finished and not asked after: the run that finished them was killed."""
        left = {}
        for file in self._ledger.parquet():
            chunk = self._ledger.chunk_of(file)
            if chunk not in self._noted:
                lines = pq.ParquetFile(file).read(columns=["key", "outcome"]).to_pylist()
                keys = [line["key"] for line in lines if line["outcome"] in GONE]
                left[chunk] = _Gone(keys=pa.array(keys, pa.string()), told=elapsed())
        return left
