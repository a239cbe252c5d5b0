"""What a restore is about: one plan, one prefix, one key, or a stretch of time; and which ledgers hold it. What is then done with them is
in restore.py."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from shlex import quote

from orphan_pipeline import digests
from orphan_pipeline.deletion.ledger import PLAN, Ledger
from orphan_pipeline.errors import Refused
from orphan_pipeline.inventory.prefixes import REMAINDER, WHOLE_BUCKET
from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.settings.values import parse_duration


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """One of plan, prefix and key, or none of them and a stretch of time, which can also narrow one of them. `since` and `until` are
    about when the ledger recorded the delete."""

    plan: str = ""
    prefix: str = ""
    key: str = ""
    since: datetime | None = None
    until: datetime | None = None

    @property
    def options(self) -> str:
        """As the command line takes it."""
        said = {"plan": self.plan, "prefix": self.prefix, "key": self.key, "since": _iso(self.since), "until": _iso(self.until)}
        return " ".join(f"--{name} {quote(value)}" for name, value in said.items() if value)


def selected(*, plan: str, prefix: str, key: str, since: str, until: str, now: datetime, undo_window: timedelta) -> Selection:
    """What the options say. A prefix alone means what went inside the undo window: older deletes need `since`, since every ledger there
    ever was would be gone through, and their objects may be gone. Raises Refused unless one thing is named."""
    named = [name for name, value in (("plan", plan), ("prefix", prefix), ("key", key)) if value]
    if len(named) > 1 or not (named or since or until):
        found = " and ".join(f"--{name}" for name in named) or "none of them"
        raise Refused(f"restore: expected exactly one of --plan, --prefix and --key, or --since or --until alone; found {found}")
    begin, end = moment(since, now=now, option="since"), moment(until, now=now, option="until")
    if begin is None and not plan and not key:
        begin = now - undo_window
    if begin is not None and end is not None and begin >= end:
        raise Refused(f"restore: --since {_iso(begin)} is not before --until {_iso(end)}")
    return Selection(plan=plan, prefix=prefix, key=key, since=begin, until=end)


def moment(text: str, *, now: datetime, option: str) -> datetime | None:
    """`2026-11-20`, `2026-11-20T14:30` (UTC unless it says otherwise), or `36h`: so long ago. None for an empty text."""
    if not text:
        return None
    ago = parse_duration(text)
    if ago is not None:
        return now - ago
    try:
        found = datetime.fromisoformat(text)
    except ValueError as wrong:
        raise Refused(
            f"restore: --{option}: found {text!r}, expected 2026-11-20, 2026-11-20T14:30 or a duration ago such as 36h"
        ) from wrong
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def ledgers_to_restore(lake: BucketLake, selection: Selection, *, report: Callable[[str], None] | None = None) -> list[Ledger]:
    """The ledgers of what was deleted, or begun to be, by one plan, under one prefix, or of one key (every one that may hold it: the
    latest delete of a key counts), or of all. Raises Refused when there is no such ledger, and when all of them deleted for good."""
    ledgers = [ledger for ledger in map(Ledger, lake.ledgers()) if ledger.begun or ledger.parquet()]
    if selection.plan:
        ledgers = _of_plan(ledgers, selection.plan)
    elif selection.prefix:
        ledgers = [ledger for ledger in ledgers if _prefix(ledger) == selection.prefix]
    elif selection.key:
        ledgers = [ledger for ledger in ledgers if (whose := ledger.plan()) is None or may_own(whose.prefix, selection.key)]
    if not ledgers:
        kind, value = next(((kind, value) for kind in ("plan", "prefix", "key") if (value := getattr(selection, kind))), ("this time", ""))
        raise Refused(f"restore: no ledger says that anything of {kind}{f' {value!r}' if value else ''} was deleted")
    undoable = [ledger for ledger in ledgers if (plan := ledger.plan()) is None or plan.mode != "permanent"]
    if not undoable:
        raise Refused("restore: what is asked for was deleted in mode permanent: it is gone for good, there is nothing to bring back")
    if report is not None and len(undoable) < len(ledgers):
        report(f"restore: {len(ledgers) - len(undoable)} plans are left out: they were carried out in mode permanent, for good")
    return undoable


def may_own(prefix: str, key: str) -> bool:
    """False only where the partition `prefix` cannot own the key: nearly what the inventory says, which may be gone by now."""
    return key.startswith(beginning_of(prefix))


def beginning_of(prefix: str) -> str:
    """What the keys of a partition begin with."""
    return "" if prefix == WHOLE_BUCKET else prefix.removesuffix(REMAINDER)


def _iso(at: datetime | None) -> str:
    return "" if at is None else f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}"


def _of_plan(ledgers: list[Ledger], digest: str) -> list[Ledger]:
    if len(digest) < digests.SHORTEST:
        raise Refused(f"restore: plan {digest!r}: found {len(digest)} characters, expected at least {digests.SHORTEST} of its digest")
    found = [ledger for ledger in ledgers if ledger.folder.name.startswith(digest)]
    if len(found) > 1:
        raise Refused(f"restore: {len(found)} plans have a digest that begins with {digest!r}, expected one")
    return found


def _prefix(ledger: Ledger) -> str:
    """The ledger is asked, not the sweep that its plan came from: that may be gone from the lake by now."""
    plan = ledger.plan()
    if plan is None:
        raise Refused(f"{ledger.folder}: found no {PLAN}, so its prefix is not known: restore it by --plan {ledger.folder.name[:12]}")
    return plan.prefix
