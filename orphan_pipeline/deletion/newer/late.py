"""Looks at each chunk once more, some time after its outcome is in the ledger: a guard, which asks nothing before.

SeaweedFS gives an object its place among the versions when its upload begins, and shows it when the upload ends: an upload that was
under way when its key was deleted comes to lie behind the marker although it ends later (4.48: 2 of 400 simultaneous pairs were not there
yet at the first look). What is found here is brought back by a restore, which is recorded like any other, since the chunk's outcome is
final.
An upload that takes longer still, and whose key is referenced, is what the after-check finds (rule 15).

`looked_after.json` in the ledger says which chunks were looked at; the next run of a plan looks at those that a killed run left.
"""

from collections.abc import Callable, Mapping, Sequence
from threading import Event, Lock

from orphan_pipeline.deletion.ledger import Answer, Ledger, Planned
from orphan_pipeline.deletion.newer.objects import NewerObjects
from orphan_pipeline.deletion.noted import read_noted, write_noted
from orphan_pipeline.deletion.undo.at_once import BringBack
from orphan_pipeline.deletion.undo.outcomes import NOTHING_LEFT_TO_DO
from orphan_pipeline.elapsed import elapsed
from orphan_pipeline.errors import Refused

NAME = "looked_after.json"
USUAL_SECONDS = 60.0
"""After which a chunk is looked at while the run goes on: longer than most uploads take."""

LEAST_SECONDS = 1.0
"""When the run ends, which a short one must not be made to wait for."""


class LateLook:
    """See `Guard`. One of the callers looks at a time; the others go on."""

    def __init__(self, *, newer: NewerObjects, ledger: Ledger, bring_back: BringBack, report: Callable[[str], None]) -> None:
        self._newer, self._ledger, self._bring_back, self._report = newer, ledger, bring_back, report
        self._looking, self._changing = Lock(), Lock()
        self._noted = read_noted(ledger.folder / NAME)
        chunks = (ledger.chunk_of(file) for file in ledger.parquet())
        self._waiting = {chunk: elapsed() for chunk in chunks if chunk not in self._noted}
        self.uncovered = 0

    def before(self, chunk: int, planned: Sequence[Planned]) -> Mapping[str, Answer]:
        return {}

    def before_request(self, chunk: int, planned: Sequence[Planned]) -> Mapping[str, Answer]:
        return {}

    def after(self, chunk: int, planned: Sequence[Planned], answers: Sequence[Answer]) -> None:
        """Raises Refused when a newer object stays hidden."""
        with self._changing:
            self._waiting[chunk] = elapsed()
        if self._older_than(USUAL_SECONDS) and self._looking.acquire(blocking=False):
            try:
                # Half the time is enough for the others, so that not every chunk costs a note of its own.
                self._look_at(self._older_than(USUAL_SECONDS / 2))
            finally:
                self._looking.release()

    def finish(self) -> None:
        with self._looking:
            if self._waiting:
                Event().wait(LEAST_SECONDS - (elapsed() - max(self._waiting.values())))
            self._look_at(list(self._waiting))

    def _older_than(self, seconds: float) -> list[int]:
        with self._changing:
            return [chunk for chunk, told in self._waiting.items() if elapsed() - told >= seconds]

    def _look_at(self, chunks: Sequence[int]) -> None:
        for chunk in chunks:
            lines = self._ledger.recorded(chunk)
            found = self._newer.hidden([one for one, _ in lines], {one.key: answer for one, answer in lines})
            self._uncover([key for key, answer in found.items() if answer.outcome == "deleted"], chunk)
        if chunks:
            self._noted = self._noted.with_chunks(set(chunks))
            write_noted(self._ledger.folder / NAME, self._noted)
        with self._changing:
            for chunk in chunks:
                del self._waiting[chunk]

    def _uncover(self, keys: Sequence[str], chunk: int) -> None:
        if not keys:
            return
        outcomes = self._bring_back(keys, [chunk])
        for key in keys:
            if outcomes[key] not in NOTHING_LEFT_TO_DO:
                raise Refused(
                    f"{key!r} was written in the moment of its delete, and its delete marker could not be removed ({outcomes[key]}): "
                    f"orphan-pipeline restore --key {key!r}"
                )
        self.uncovered += len(keys)
        self._report(f"written in the moment of their delete and uncovered: {len(keys):,} objects of chunk {chunk}, first {keys[0]!r}")
