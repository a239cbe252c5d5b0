"""Manifests with the figures that a gate looks at, made by hand: the gates are a pure function over them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from orphan_pipeline.gates.evaluate import evaluate
from orphan_pipeline.gates.gate import Gate, GateLimits
from orphan_pipeline.gates.history import Accepted, History
from orphan_pipeline.inventory.snapshot import Amount, InventoryFigures
from orphan_pipeline.orphans.manifest import MANIFEST_VERSION, AgeBand, DanglingFigures, Manifest, PrefixFigures
from orphan_pipeline.references.snapshot import CutFigures, ReferenceFigures, SourceFigures

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
NOTHING = Amount(0, 0)
LIMITS = GateLimits(
    source_floors={"documents": 100},
    min_match_rate=0.95,
    max_orphan_fraction=0.2,
    max_shrink=0.1,
    max_growth=3.0,
    max_age_band_excess=0.1,
)
BINDING: dict[str, Any] = {
    "bucket": "acme-media",
    "endpoint": None,
    "references": [{"name": "documents", "database": "app", "sql": "SELECT 1", "expect_rows_at_least": 100}],
    "databases": {"app": {"url": {"env": "APP_DATABASE_URL"}}},
}


def manifest(
    *,
    references: dict[str, int] | None = None,
    rows: int | None = None,
    dangling: dict[str, int] | None = None,
    keys: dict[str, tuple[int, int]] | None = None,
    missed: int = 0,
    prefixes: dict[str, PrefixFigures] | None = None,
    unowned: Amount = NOTHING,
    binding: dict[str, Any] | None = None,
    cuts: Sequence[CutFigures] = (),
) -> Manifest:
    """`keys`: by source its different keys, and those of them that dangle; else nobody counted them."""
    prefixes = {"a/": owned(1000, 100)} if prefixes is None else prefixes
    everything = [unowned, *(figures.inventory for figures in prefixes.values())]
    return Manifest(
        version=MANIFEST_VERSION,
        sweep_id="s",
        bucket="media",
        cutoff=NOON,
        published_at=NOON,
        expires_at=NOON,
        inventory=InventoryFigures(
            started_at=NOON,
            store_clock=NOON,
            host_clock=NOON,
            seconds=1,
            total=Amount(sum(a.objects for a in everything), sum(a.bytes for a in everything)),
            unowned=unowned,
            prefixes={prefix: figures.inventory for prefix, figures in prefixes.items()},
            storage_classes={},
        ),
        references=ReferenceFigures(
            inventory_started_at=NOON,
            snapshot_at=NOON,
            cuts=tuple(cuts),
            sources=tuple(
                SourceFigures(
                    name=name,
                    database="app",
                    rows=n if rows is None else rows,
                    references=n,
                    derived=0,
                    without_key=0,
                    seconds=1,
                    distinct_keys_about=keys[name][0] if keys else None,
                )
                for name, n in ({"documents": 1000} if references is None else references).items()
            ),
        ),
        dangling=DanglingFigures(
            sources=dangling or {},
            keys={name: n for name, (_, n) in keys.items() if n} if keys else None,
            missed=missed,
            missed_sample=("a/missed",) if missed else (),
        ),
        prefixes=prefixes,
        unowned=unowned,
        plans={},
        earliest=None,
        tripped=(),
        confirms=None,
        binding=BINDING if binding is None else binding,
        digest="d",
    )


def cut(database: str = "app", **changed: Any) -> CutFigures:
    """A database as any night finds it."""
    usual: dict[str, Any] = {
        "snapshot_at": NOON,
        "host_snapshot_at": NOON,
        "system_identifier": "7364",
        "snapshot": "1:1:",
        "lsn": "1/A0",
        "server_version": "18.1",
        "database_oid": 16384,
        "timeline": 1,
    }
    return CutFigures(database=database, **{**usual, **changed})


def owned(
    objects: int,
    orphans: int,
    *,
    size: int | None = None,
    orphan_size: int | None = None,
    ages: Mapping[str, tuple[int, int]] | None = None,
) -> PrefixFigures:
    """A prefix whose orphans are half held and half deletable; every object is of one byte unless said. `ages`: objects and orphans."""
    orphan_bytes = orphans if orphan_size is None else orphan_size
    held = Amount(orphans // 2, orphan_bytes // 2)
    return PrefixFigures(
        inventory=Amount(objects, objects if size is None else size),
        holds={"young": held},
        deletable=Amount(orphans - held.objects, orphan_bytes - held.bytes),
        ages={name: AgeBand(inventory=Amount(n, n), orphans=Amount(o, o)) for name, (n, o) in (ages or {}).items()},
    )


def history(*accepted: Manifest, overridden: Mapping[int, Sequence[str]] | None = None) -> History:
    """The oldest first, a day apart. `overridden`: what was approved of which of them."""
    approvals = overridden or {}
    return History(
        tuple(
            Accepted(
                manifest=replace(one, inventory=replace(one.inventory, started_at=NOON - timedelta(days=len(accepted) - n))),
                overridden=frozenset(approvals.get(n, ())),
            )
            for n, one in enumerate(accepted)
        )
    )


PAST = history(manifest())


def gate(name: str, of: Manifest, limits: GateLimits = LIMITS, past: History = PAST) -> Gate:
    [found] = [gate for gate in evaluate(of, limits, past) if gate.name == name]
    return found
