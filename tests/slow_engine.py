"""The orphan set as slow, obvious Python: the meaning that DuckDB's queries are held against."""

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import combinations
from urllib.parse import unquote_to_bytes

from pathspec import GitIgnoreSpec
from slow_blanks import BLANKS
from slow_variants import glob_matches_slowly

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
    protected_by: str | None = None
    restored_at: datetime | None = None
    resembles: str | None = None
    view: str | None = None


def slow_orphans(
    inventory: Sequence[Stored],
    references: AbstractSet[str],
    *,
    previous: Mapping[Version, Seen],
    restored: Mapping[Version, datetime],
    sweep_at: datetime,
    cutoff: datetime,
    limits: HoldLimits,
    kept: AbstractSet[str] = frozenset(),
) -> list[Orphan]:
    """`kept`: keys that a glob among the variants keeps."""
    brought_back: dict[tuple[str, str], datetime] = {}
    for (key, etag, _), at in restored.items():  # by content: what comes back from quarantine has a new date
        brought_back[key, etag] = max(at, brought_back.get((key, etag), at))
    orphans = []
    for stored in inventory:
        if stored.key in references or stored.key in kept:
            continue
        seen = _sighted(previous.get(stored.version), sweep_at, limits.confirmation_gap)
        written_by = stored.last_modified + (limits.multipart_grace if stored.is_multipart else timedelta())
        resembles = min((r for r in references if slow_alike(stored.key, r, limits.hosts)), default=None)
        orphan = Orphan(
            stored=stored,
            seen=seen,
            hold=None,
            protected_by=_protected_by(stored.key, limits),
            restored_at=brought_back.get(stored.version[:2]),
            resembles=resembles,
            view=resembles and slow_views(stored.key, resembles, limits.hosts),
        )
        if stored.prefix is None:
            orphan.hold = "unowned"
        elif orphan.protected_by is not None:
            orphan.hold = "protected"
        elif orphan.restored_at is not None:
            orphan.hold = "restored"
        elif orphan.resembles is not None:
            orphan.hold = "ambiguous"
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


def slow_kept(inventory: Sequence[Stored], references: Sequence[tuple[str, str, bool]], globs: Mapping[str, Sequence[str]]) -> set[str]:
    """By the rows (key, source, derived) of the references, and the templates of each source."""
    return {
        stored.key
        for stored in inventory
        for parent, source, derived in references
        for template in globs.get(source, ())
        if not derived and glob_matches_slowly(template, stored.key, parent)
    }


VIEWS = ("percent", "plus", "nfc", "case", "blank", "slashes", "host", "query")


def slow_form(key: str, hosts: Sequence[str], views: Collection[str] = VIEWS) -> str:
    """Rule 6, one view after the other."""

    def without_query(text: str) -> str:
        return re.split("[?#]", text, maxsplit=1)[0] if "query" in views else text

    form = without_query(key)
    while "percent" in views and (decoded := without_query(_decoded(form))) != form:
        form = decoded
    if "plus" in views:
        form = form.replace("+", " ")
    if "blank" in views:
        form = re.sub(f"[{re.escape(BLANKS)}]+([?#])", r"\1", form.strip(BLANKS))
    if "nfc" in views:
        form = unicodedata.normalize("NFC", form)
    if "case" in views:
        form = "".join(map(_folded, form)).replace("i\u0307", "i")
        form = unicodedata.normalize("NFC", form) if "nfc" in views else form
    if "slashes" in views:
        form = form.replace("\\", "/")
        form = "/".join(part for n, part in enumerate(form.split("/")) if part or n == form.count("/"))
    while (less := _without_leading(form, hosts, views)) != form:
        form = less
    return form


def slow_views(one: str, other: str, hosts: Sequence[str]) -> str:
    """The fewest views that make the two equal; of several the first."""
    every = [views for size in range(1, len(VIEWS) + 1) for views in combinations(VIEWS, size)]
    return "+".join(next(views for views in every if slow_alike(one, other, hosts, views)))


def slow_alike(one: str, other: str, hosts: Sequence[str], views: Collection[str] = VIEWS) -> bool:
    """Equal forms; and of two that both have a query, one is the other with a query more, or in one of them something did not decode."""
    if slow_form(one, hosts, views) != slow_form(other, hosts, views):
        return False
    wholes = {slow_form(key, hosts, [view for view in views if view != "query"]) for key in (one, other)}
    if "query" not in views or len(wholes) == 1:
        return True
    short, long = sorted(wholes, key=len)
    undecoded = "percent" in views and re.search("%[0-9A-Fa-f]{2}", f"{short} {long}")
    return bool(undecoded) or (long.startswith(short) and long[len(short)] in "?#")


def _decoded(text: str) -> str:
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        return text


def _folded(character: str) -> str:
    upper = character.upper()
    folded = (upper if len(upper) == 1 else character).lower()
    return "ss" if folded == "ß" else folded[0]


def _without_leading(text: str, hosts: Sequence[str], views: Collection[str]) -> str:
    if "blank" in views:
        text = text.lstrip(BLANKS)
    if "slashes" in views:
        text = text.lstrip("/")
    behind = _behind_host(text, hosts) if "host" in views else None
    return text if behind is None else behind


def _behind_host(text: str, hosts: Sequence[str]) -> str | None:
    url = re.match(r"[A-Za-z][A-Za-z0-9.-]*:/+[^/?#%\\]+/+", text)
    if url:
        return text[url.end() :]
    known = [host for host in hosts if text.startswith(f"{host}/")]
    return text[len(known[0]) :].lstrip("/") if known else None


def _protected_by(key: str, limits: HoldLimits) -> str | None:
    own = [prefix for prefix in limits.own_prefixes if key.startswith(prefix)]
    return next(iter([*own, *(glob for glob in limits.protect if GitIgnoreSpec.from_lines([glob]).match_file(key))]), None)


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
