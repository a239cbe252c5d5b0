"""Hooks, copies and attempts that the store refuses lie between the question about a chunk and its request: the databases are asked again
when the answer is too old by then, and nothing goes out without the lease. The clock is ours, the store and its refusals are real."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from deletion_helpers import NothingHeld, client_of, deleter_of, pace_of, put, recorded, standing, write_plan
from faulty_store import NOTHING, Exchange, Fault, faulty_store
from quarantine_helpers import PLAN, execute_into

from orphan_pipeline.deletion.abilities import USUAL, Way
from orphan_pipeline.deletion.execute import Deleter
from orphan_pipeline.deletion.ledger import Answer, Ledger, Planned
from orphan_pipeline.deletion.permanent import UnversionedDeleter, VersionDeleter
from orphan_pipeline.deletion.quarantine.copying import Copier
from orphan_pipeline.deletion.quarantine.deleter import QuarantineDeleter
from orphan_pipeline.deletion.quarantine.place import Quarantine
from orphan_pipeline.deletion.recheck import blocks, guard
from orphan_pipeline.deletion.recheck.guard import Recheck
from orphan_pipeline.demo.servers import ObjectStore
from orphan_pipeline.errors import Refused
from orphan_pipeline.references.recheck.asking import Asked
from orphan_pipeline.references.recheck.ways import Keys
from orphan_pipeline.references.recheck.ways import Way as AskedBy
from orphan_pipeline.settings.model import ReferenceSettings

MakeBucket = Callable[..., str]
KEYS = [f"a/{number:02d}" for number in range(12)]
TAKEN = "a/05"
SOURCE = ReferenceSettings.model_validate({"name": "documents", "database": "app", "sql": "SELECT k FROM t"})
MAX_AGE = timedelta(minutes=15)


@dataclass
class Application:
    """Begins to use a key when time passes, which it does only when a test says so."""

    seconds: float = 1000.0
    uses: set[str] = field(default_factory=set)
    questions: int = 0

    def elapsed(self) -> float:
        return self.seconds

    def ways(self, keys: Keys) -> Sequence[AskedBy]:
        return [AskedBy(source=SOURCE, form=None, why="no index")]

    def ask(self, keys: Keys) -> Asked:
        self.questions += 1
        in_use = self.uses & {str(key) for key in keys.to_pylist()}
        return Asked(in_use=dict.fromkeys(in_use, "documents"), began=self.seconds, seconds=0.0)

    def time_passes(self) -> None:
        self.uses.add(TAKEN)  # first: as soon as time has passed, the request of another key may ask
        self.seconds += MAX_AGE.total_seconds()


@pytest.fixture
def application(monkeypatch: pytest.MonkeyPatch) -> Application:
    made = Application()
    for module in (blocks, guard):
        monkeypatch.setattr(module, "elapsed", made.elapsed)
    return made


@dataclass
class Bucket:
    """`taken_at_first`: the first delete that names the key is refused as too much, and when its answer comes, the key is in use."""

    store: ObjectStore
    name: str
    application: Application
    seen: int = 0

    def fault(self, _: int) -> Fault:
        return self._refuse_first

    def _refuse_first(self, exchange: Exchange) -> None:
        named = TAKEN.encode() in exchange.request or unquote(urlsplit(exchange.target).path).endswith(TAKEN)
        if named:
            self.seen += 1
        if named and self.seen == 1:
            exchange.refuse(503, "SlowDown")
            self.application.time_passes()

    @contextmanager
    def deleter(self, mode: str) -> Iterator[Deleter]:
        with faulty_store(self.store.endpoint, before=self.fault if mode != "quarantine" else lambda _: NOTHING) as faulty:
            looking, once = client_of(self.store), client_of(self.store, attempts=1, endpoint=faulty.endpoint)
            way = Way(together=False, singly="conditional") if mode == "singly" else USUAL
            conditional = deleter_of(self.store, self.name, endpoint=faulty.endpoint, way=way)
            if mode == "quarantine":
                copier: Any = client_of(self.store)
                copier.meta.events.register("after-call.s3.CopyObject", lambda **_: self.application.time_passes())
                yield QuarantineDeleter(
                    inner=conditional, copier=Copier(client=copier), bucket=self.name, quarantine=Quarantine(self.name, "q/"), plan=PLAN
                )
            elif mode == "permanent, versions":
                yield VersionDeleter(client=looking, once=once, bucket=self.name, pace=pace_of(self.name))
            elif mode == "permanent":
                yield UnversionedDeleter(inner=conditional, client=looking, bucket=self.name)
            else:
                yield conditional


MODES = {
    "together": "versioned",
    "singly": "versioned",
    "quarantine": "quarantine",
    "permanent, versions": "permanent",
    "permanent": "permanent",
}


@pytest.mark.parametrize("mode", MODES)
def test_what_came_into_use_between_the_question_and_the_request_is_held(
    seaweedfs: ObjectStore, make_bucket: MakeBucket, tmp_path: Path, application: Application, mode: str
) -> None:
    bucket = Bucket(seaweedfs, make_bucket(seaweedfs, versioned=mode != "permanent"), application)
    client = client_of(seaweedfs)
    ledger, plan = _planned(client, bucket.name, tmp_path)
    recheck = Recheck(
        asker=application,
        plan=plan,
        ledger=ledger,
        max_age=MAX_AGE,
        keys_per_second=3000,
        bring_back=lambda keys, _: pytest.fail(f"{keys} had to be brought back"),
        report=lambda _: None,
    )
    with bucket.deleter(mode) as deleter:
        execute_into(plan, ledger, deleter, f"s3://{bucket.name}/q/" if mode == "quarantine" else "", mode=MODES[mode], guards=[recheck])
    outcomes = {line["key"]: (line["outcome"], line["code"]) for line in recorded(ledger)}
    assert outcomes.pop(TAKEN) == ("referenced_again", "documents")
    assert {outcome for outcome, _ in outcomes.values()} == {"deleted"}
    assert [key for key, own in standing(client, bucket.name).items() if own.current and not key.startswith("q/")] == [TAKEN]
    assert standing(client, bucket.name)[TAKEN].markers == []
    assert bucket.seen <= 1, "it was not asked to go again"
    assert application.questions == 3, "before the chunk, before the request, after the chunk"


@pytest.mark.parametrize("mode", MODES)
def test_without_the_lease_no_request_goes_out(
    seaweedfs: ObjectStore, make_bucket: MakeBucket, tmp_path: Path, application: Application, mode: str
) -> None:
    """Lost while the store was busy, or while copies were made."""

    class Lease(NothingHeld):
        def before_request(self, chunk: int, planned: Sequence[Planned]) -> Mapping[str, Answer]:
            if application.uses:
                raise Refused("the lease is lost")
            return {}

        def after(self, chunk: int, planned: Sequence[Planned], answers: Sequence[Answer]) -> None:
            pytest.fail("the chunk has an outcome")

    bucket = Bucket(seaweedfs, make_bucket(seaweedfs, versioned=mode != "permanent"), application)
    client = client_of(seaweedfs)
    ledger, plan = _planned(client, bucket.name, tmp_path)
    with bucket.deleter(mode) as deleter, pytest.raises(Refused, match="the lease is lost"):
        execute_into(plan, ledger, deleter, f"s3://{bucket.name}/q/" if mode == "quarantine" else "", mode=MODES[mode], guards=[Lease()])
    assert ledger.unfinished() == [0]
    stand = {key for key, own in standing(client, bucket.name).items() if own.current}
    assert stand >= {TAKEN}
    kept = {key for key, answer in ledger.kept(0).items() if answer.outcome == "deleted"}
    assert stand.isdisjoint(kept)
    assert stand | kept >= set(KEYS), "what went is known"


def _planned(client: Any, bucket: str, folder: Path) -> tuple[Ledger, Path]:
    planned = [
        replace(one, last_modified=client.head_object(Bucket=bucket, Key=one.key)["LastModified"])
        for one in put(client, bucket, {key: key.encode() for key in KEYS})
    ]
    return Ledger(folder / "ledger"), write_plan(folder / "plan.parquet", planned, canary=len(planned))
