"""Which ledgers a restore is about: those of one plan, one prefix or one key. What is then done with them is in restore.py."""

from orphan_pipeline.deletion.ledger import PLAN, Ledger
from orphan_pipeline.errors import Refused
from orphan_pipeline.inventory.prefixes import REMAINDER, WHOLE_BUCKET
from orphan_pipeline.lake.layout import BucketLake

SHORTEST_DIGEST = 8


def ledgers_to_restore(lake: BucketLake, *, plan: str = "", prefix: str = "", key: str = "") -> list[Ledger]:
    """The ledgers of what was deleted, or begun to be, by one plan, under one prefix, or of one key (every one that may hold it: the
    latest delete of a key counts). Raises Refused unless exactly one is named and there is such a ledger."""
    named = [(kind, value) for kind, value in (("plan", plan), ("prefix", prefix), ("key", key)) if value]
    if len(named) != 1:
        raise Refused(f"restore: found {len(named)} of plan, prefix and key, expected exactly one of them")
    ledgers = [ledger for ledger in map(Ledger, lake.ledgers()) if ledger.begun or ledger.parquet()]
    if plan:
        ledgers = _of_plan(ledgers, plan)
    elif prefix:
        ledgers = [ledger for ledger in ledgers if _prefix(ledger) == prefix]
    else:
        ledgers = [ledger for ledger in ledgers if (whose := ledger.plan()) is None or may_own(whose.prefix, key)]
    if not ledgers:
        raise Refused(f"restore: no ledger says that anything of {named[0][0]} {named[0][1]!r} was deleted")
    return ledgers


def may_own(prefix: str, key: str) -> bool:
    """False only where the partition `prefix` cannot own the key: nearly what the inventory says, which may be gone by now."""
    return prefix == WHOLE_BUCKET or key.startswith(prefix.removesuffix(REMAINDER))


def _of_plan(ledgers: list[Ledger], digest: str) -> list[Ledger]:
    if len(digest) < SHORTEST_DIGEST:
        raise Refused(f"restore: plan {digest!r}: found {len(digest)} characters, expected at least {SHORTEST_DIGEST} of its digest")
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
