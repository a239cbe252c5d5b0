"""What stands in the lease, and what follows from it: who may join, who is over, who is in the way. Pure: where the document lies is in
`registers`, who keeps it alive in `lease`.

    {"holders": [{"purpose": "deletion of sweep 4f…", "part": "uploads/", "host": "worker-3", "pid": 4711, "run_id": "…",
                  "process": "…", "acquired": "…Z", "renewed": "…Z", "expires": "…Z"}, …], "written": "…"}

Holders of one purpose share the lease, each with a part of its own. Times are the register's (the store's Date header, or this host's
clock for a lease in the lake).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

MARGIN = timedelta(seconds=5)
"""How much longer others wait than a holder believes that it holds: the Date header counts whole seconds, and answers take time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """One run that holds a part. `run_id` is unique; `process` tells its process from every other, where this system can."""

    purpose: str
    part: str
    host: str
    pid: int
    run_id: str
    process: str | None
    acquired: datetime
    renewed: datetime
    expires: datetime

    def __str__(self) -> str:
        return (
            f"{self.purpose} ({self.part}) on {self.host}, process {self.pid}, run {self.run_id}, since {self.acquired:%Y-%m-%d %H:%M:%S} "
            f"UTC, until {self.expires:%H:%M:%S} UTC unless it renews it"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseDocument:
    """`written` differs in each writing, so that no two documents are ever the same bytes."""

    holders: tuple[Holder, ...] = ()
    written: str = ""


def living(document: LeaseDocument, now: datetime) -> tuple[Holder, ...]:
    return tuple(holder for holder in document.holders if holder.expires + MARGIN >= now)


def in_the_way(holders: Sequence[Holder], wanted: Holder) -> Holder | None:
    """Who keeps `wanted` from holding, if anybody: another purpose, or the same part."""
    others = (holder for holder in holders if holder.run_id != wanted.run_id or holder.part != wanted.part)
    return next((other for other in others if other.purpose != wanted.purpose or other.part == wanted.part), None)


def with_holder(holders: Sequence[Holder], wanted: Holder) -> tuple[Holder, ...]:
    return (*without_holder(holders, wanted), wanted)


def without_holder(holders: Sequence[Holder], gone: Holder) -> tuple[Holder, ...]:
    return tuple(holder for holder in holders if (holder.run_id, holder.part) != (gone.run_id, gone.part))


def renewed(holder: Holder, now: datetime, expiry: timedelta) -> Holder:
    return replace(holder, renewed=now, expires=now + expiry)
