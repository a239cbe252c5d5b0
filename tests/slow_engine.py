"""The orphan set as slow, obvious Python: the meaning that DuckDB's queries are held against."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta

from pathspec import GitIgnoreSpec

from orphan_pipeline.orphans.snapshot import HoldLimits

Version = tuple[str, str, datetime]
"""Key, ETag and LastModified: what makes an object the same object in two sweeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    key: str
    etag: str
    last_modified: datetime
    size: int
    prefix: str | None
    is_multipart: bool

    @property
    def version(self) -> Version:
        return self.key, self.etag, self.last_modified


@dataclass(frozen=True, slots=True)
class Seen:
    first_seen: datetime
    sightings: int
    sighted_at: datetime


@dataclass(slots=True, kw_only=True)
class Orphan:
    stored: Stored
    seen: Seen
    hold: str | None
    ready_at: datetime | None = None
    ready_after: str | None = None
    chunk: int | None = None


def slow_orphans(
    inventory: Sequence[Stored],
    references: AbstractSet[str],
    *,
    previous: Mapping[Version, Seen],
    restored: AbstractSet[Version],
    sweep_at: datetime,
    cutoff: datetime,
    limits: HoldLimits,
) -> list[Orphan]:
    protect = GitIgnoreSpec.from_lines(limits.protect)
    orphans = []
    for stored in inventory:
        if stored.key in references:
            continue
        seen = _sighted(previous.get(stored.version), sweep_at, limits.confirmation_gap)
        written_by = stored.last_modified + (limits.multipart_grace if stored.is_multipart else timedelta())
        orphan = Orphan(stored=stored, seen=seen, hold=None)
        if stored.prefix is None:
            orphan.hold = "unowned"
        elif stored.key.startswith(".orphan_pipeline/") or protect.match_file(stored.key):
            orphan.hold = "protected"
        elif stored.version[:2] in {version[:2] for version in restored}:
            orphan.hold = "restored"
        elif written_by >= cutoff:
            orphan.hold = "young"
        elif seen.sightings < limits.confirmations:
            orphan.hold = "unconfirmed"
        if orphan.hold in ("young", "unconfirmed"):
            old_enough_at = written_by + limits.min_age
            confirmed_at = seen.sighted_at + limits.confirmation_gap * max(limits.confirmations - seen.sightings, 0)
            orphan.ready_at = max(old_enough_at, confirmed_at)
            orphan.ready_after = "unconfirmed" if confirmed_at > old_enough_at else "young"
        orphans.append(orphan)
    _cap(orphans, limits.max_deletions)
    _cut_into_chunks(orphans)
    return orphans


def earliest(orphans: Sequence[Orphan]) -> tuple[datetime, str] | None:
    return min(((o.ready_at, o.ready_after) for o in orphans if o.ready_at and o.ready_after), default=None)


def _sighted(before: Seen | None, sweep_at: datetime, gap: timedelta) -> Seen:
    if before is None:
        return Seen(sweep_at, 1, sweep_at)
    if sweep_at > before.sighted_at and sweep_at - before.sighted_at >= gap:
        return Seen(before.first_seen, before.sightings + 1, sweep_at)
    return before


def _cap(orphans: Sequence[Orphan], most: int) -> None:
    deletable = [orphan for orphan in orphans if orphan.hold is None]
    oldest_first = sorted(deletable, key=lambda orphan: (orphan.stored.last_modified, orphan.stored.key.encode()))
    for orphan in oldest_first[most:]:
        orphan.hold = "capped"


def _cut_into_chunks(orphans: Sequence[Orphan]) -> None:
    for prefix in {orphan.stored.prefix for orphan in orphans}:
        planned = [orphan for orphan in orphans if orphan.stored.prefix == prefix and orphan.hold is None]
        for place, orphan in enumerate(sorted(planned, key=lambda orphan: orphan.stored.key.encode())):
            orphan.chunk = 0 if place < 10 else 1 + (place - 10) // 1000
