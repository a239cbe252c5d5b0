"""One sweeper a bucket (rule 14): whoever deletes or restores holds a lease and keeps it alive from a thread. Deletion runs of one sweep
share it, each prefix exclusively; everybody else waits a while and then is told who is in the way. What the document says and where it
lies belongs in `document` and `registers`."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from socket import gethostname
from threading import Event, Thread
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_random

from orphan_pipeline.deletion.lease.document import Holder, LeaseDocument, in_the_way, living, renewed, with_holder, without_holder
from orphan_pipeline.deletion.lease.process import is_dead, this_process
from orphan_pipeline.deletion.lease.registers import LakeRegister, Reading, Register, StoreRegister, honours_conditional_writes
from orphan_pipeline.deletion.ledger import Answer, Planned
from orphan_pipeline.elapsed import elapsed
from orphan_pipeline.errors import Refused
from orphan_pipeline.lake.layout import BucketLake

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

RENEWALS = 3
"""Within one expiry, so that two may fail."""

SOONER = 10
"""A renewal that failed is tried again after this part of an expiry."""

WRITES = 50
"""Attempts to write when others write as well: each that fails is another's that succeeded."""

LONGEST_POLL = 2.0
PASSING = (ClientError, BotoCoreError, OSError)


def deletion_of(sweep_id: str) -> str:
    """The purpose that all deletion runs of one sweep share."""
    return f"deletion of sweep {sweep_id}"


def register_of(client: "S3Client", bucket: str, lake: BucketLake) -> Register:
    """In the bucket, where the store honours conditional writes; else in the lake, which binds only who has the same lake."""
    return StoreRegister(client, bucket) if honours_conditional_writes(client, bucket) else LakeRegister(lake.root)


class Lease:
    """What `leased` yields. Thread-safe."""

    def __init__(self, register: Register, holder: Holder, *, expiry: timedelta, deadline: float, report: Callable[[str], None]) -> None:
        self._register, self._holder, self._expiry, self._report = register, holder, expiry, report
        self._deadline = deadline
        self._lost: str | None = None
        self._ends = Event()
        self._thread = Thread(target=self._keep_alive, name="orphan_pipeline lease", daemon=True)

    @property
    def words(self) -> str:
        return f"{self._register.where}, since {self._holder.acquired:%Y-%m-%d %H:%M:%S} UTC"

    def check(self) -> None:
        """Raises Refused unless it is held right now."""
        if self._lost is None and elapsed() < self._deadline:
            return
        why = self._lost or "it could not be renewed in time"
        raise Refused(f"the lease of {self._register.where} is lost ({why}): stopped; run it again to go on")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Gives it back. A store that does not answer is no failure: the lease runs out by itself."""
        self._ends.set()
        self._thread.join()
        try:
            _give_back(self._register, self._holder)
        except PASSING as error:
            self._report(f"the lease of {self._register.where} could not be given back and runs out by itself: {error}")

    def _keep_alive(self) -> None:
        seconds = self._expiry.total_seconds()
        pause = seconds / RENEWALS
        while not self._ends.wait(pause) and self._lost is None:
            try:
                self._renew()
                pause = seconds / RENEWALS
            except PASSING as error:
                pause = seconds / SOONER
                self._report(f"the lease of {self._register.where} was not renewed, trying again: {error}")
                if elapsed() >= self._deadline:
                    self._lost = f"the store did not answer: {error}"
            except Refused as error:
                self._lost = str(error)

    def _renew(self) -> None:
        for _ in range(WRITES):
            began = elapsed()
            reading = self._register.read()
            holders = _holders(reading)
            own = next((holder for holder in holders if _same(holder, self._holder)), None)
            if own is None:
                raise Refused("it had run out, and somebody else took it")
            if self._register.write(LeaseDocument(holders=with_holder(holders, renewed(own, reading.now, self._expiry))), after=reading):
                self._deadline = began + self._expiry.total_seconds()
                return
        raise OSError(f"others wrote it {WRITES} times meanwhile")


class LeaseGuard:
    """See `deletion.guards.Guard`: without the lease no request goes."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    def before(self, chunk: int, planned: Sequence[Planned]) -> Mapping[str, Answer]:
        self._lease.check()
        return {}

    before_request = before

    def after(self, chunk: int, planned: Sequence[Planned], answers: Sequence[Answer]) -> None:
        """What went has gone."""

    def finish(self) -> None:
        """It is given back where it was taken."""


@contextmanager
def leased(
    register: Register,
    *,
    purpose: str,
    part: str,
    run_id: str,
    expiry: timedelta,
    wait: timedelta,
    report: Callable[[str], None],
) -> Iterator[Lease]:
    """Holds the lease for `part` of `purpose` until the end. Raises Refused, with who is in the way, when that does not end in `wait`."""
    lease = _acquire(register, purpose=purpose, part=part, run_id=run_id, expiry=expiry, wait=wait, report=report)
    lease.start()
    try:
        yield lease
    finally:
        lease.stop()


def _acquire(
    register: Register, *, purpose: str, part: str, run_id: str, expiry: timedelta, wait: timedelta, report: Callable[[str], None]
) -> Lease:
    told: set[str] = set()

    def attempt() -> Lease | Holder:
        for _ in range(WRITES):
            began = elapsed()
            reading = register.read()
            now = reading.now
            wanted = Holder(
                purpose=purpose,
                part=part,
                host=gethostname(),
                pid=os.getpid(),
                run_id=run_id,
                process=this_process(),
                acquired=now,
                renewed=now,
                expires=now + expiry,
            )
            holders = _holders(reading)
            other = in_the_way(holders, wanted)
            if other is not None:
                if other.run_id not in told:
                    report(f"waiting for the lease of {register.where}, held by {other}")
                    told.add(other.run_id)
                return other
            if register.write(LeaseDocument(holders=with_holder(holders, wanted)), after=reading):
                return Lease(register, wanted, expiry=expiry, deadline=began + expiry.total_seconds(), report=report)
        raise Refused(f"the lease of {register.where} could not be taken: others wrote it {WRITES} times meanwhile")

    pause = min(LONGEST_POLL, expiry.total_seconds() / SOONER)
    found = Retrying(
        retry=retry_if_result(lambda result: isinstance(result, Holder)),
        stop=stop_after_delay(wait.total_seconds()),
        wait=wait_random(pause / 2, pause),
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
    )(attempt)
    if not isinstance(found, Lease):
        raise Refused(f"the lease of {register.where} is held by {found}: wait until that ends, then run this again")
    return found


def _holders(reading: Reading) -> tuple[Holder, ...]:
    """Who holds it: neither run out nor dead for certain."""
    alive = living(reading.document, reading.now) if reading.document is not None else ()
    return tuple(holder for holder in alive if not is_dead(holder.process))


def _same(one: Holder, other: Holder) -> bool:
    return (one.run_id, one.part) == (other.run_id, other.part)


def _give_back(register: Register, holder: Holder) -> None:
    for _ in range(WRITES):
        reading = register.read()
        if reading.document is None or not any(_same(other, holder) for other in reading.document.holders):
            return
        others = without_holder(_holders(reading), holder)
        if others:
            register.write(LeaseDocument(holders=others), after=reading)
        else:
            register.remove(after=reading)
