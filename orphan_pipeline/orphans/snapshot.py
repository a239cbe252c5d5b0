"""The orphan set of one sweep: what no reference points at, each orphan with its hold or in its prefix's plan.

`orphans/{prefix}/plan.parquet`: chunk, key, size, last_modified, etag, storage_class, is_multipart, first_seen, sightings
(sweeps that counted), sighted_at (the last that did), ordered by key; immutable once published.
`orphans/{prefix}/holds.parquet`: the same without chunk, with hold (the reason) and ready_at (when it can end by itself).
Unowned orphans are counted, not listed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from orphan_pipeline.duck import duck, rows
from orphan_pipeline.errors import Refused
from orphan_pipeline.inventory.columns import CURRENT, LISTED, TIME
from orphan_pipeline.inventory.snapshot import Amount
from orphan_pipeline.lake.columns import column
from orphan_pipeline.lake.files import sha256_of
from orphan_pipeline.lake.layout import SweepFolder, prefix_folder
from orphan_pipeline.orphans import queries
from orphan_pipeline.orphans.derived import matched_by_globs
from orphan_pipeline.orphans.manifest import Earliest
from orphan_pipeline.orphans.protection import protection_expression

PLAN = pa.schema(
    [
        column("chunk", pa.int32(), "one DeleteObjects request; chunk 0 is the canary"),
        *LISTED,
        column("is_multipart", pa.bool_(), "the ETag ends in -N"),
        column("first_seen", TIME, "start of the first sweep that saw this very object as an orphan"),
        column("sightings", pa.int32(), "sweeps that counted, confirmation_gap apart"),
        column("sighted_at", TIME, "start of the last sweep that counted"),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldLimits:
    """What decides between plan and hold (rules 2, 3, 5, 7 and the cap)."""

    min_age: timedelta
    multipart_grace: timedelta
    confirmations: int
    confirmation_gap: timedelta
    max_deletions: int
    protect: Sequence[str]
    own_prefixes: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFile:
    """A plan's file, relative to the stage's folder, and the SHA-256 of its bytes."""

    file: str
    sha256: str
    chunks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OrphanFigures:
    """By prefix and hold; the hold of a deletable orphan is None. Unowned orphans have the prefix None."""

    amounts: dict[tuple[str | None, str | None], Amount]
    plans: dict[str, PlanFile]
    earliest: Earliest | None


def write_orphan_set(
    sweep: SweepFolder,
    *,
    previous: SweepFolder | None,
    restored: list[str],
    released: list[str] | None = None,
    sweep_at: datetime,
    cutoff: datetime,
    limits: HoldLimits,
    folder: Path,
    globs: Mapping[str, Sequence[str]] | None = None,
) -> OrphanFigures:
    """Joins the two snapshots of one sweep and writes plans and holds into `folder`. Nothing is held in Python but figures.
    `globs`: by source, the templates with a `*` that its references have as variants.

    Raises Refused when the inventory holds an orphan twice.
    """
    with duck(folder) as connection:
        connection.read_parquet(sweep.parquet("inventory")).filter(CURRENT).create_view("inventory")
        connection.read_parquet(sweep.parquet("references")).create_view("refs")
        matched_by_globs(connection, globs or {})
        _view(connection, "previous", previous.parquet("orphans") if previous else [], queries.NO_PREVIOUS)
        _view(connection, "ever_restored", restored, queries.NO_RESTORED)
        _view(connection, "released", released or [], queries.NO_RESTORED)
        connection.execute(queries.RESTORED).fetchall()
        protected, parameters = protection_expression(limits.protect, limits.own_prefixes)
        connection.execute(
            queries.ORPHANS.format(protected=protected),
            {
                **parameters,
                "sweep_at": sweep_at,
                "cutoff": cutoff,
                "min_age": limits.min_age,
                "multipart_grace": limits.multipart_grace,
                "confirmations": limits.confirmations,
                "gap": limits.confirmation_gap,
                "max_deletions": limits.max_deletions,
            },
        ).fetchall()
        for (key,) in rows(connection, queries.LISTED_TWICE):
            raise Refused(f"the inventory holds {key!r} more than once: the list changed while it was read, run a new sweep")
        amounts = {(prefix, hold): Amount(objects, size) for prefix, hold, objects, size in rows(connection, queries.BY_PREFIX_AND_HOLD)}
        plans = {
            prefix: _write_prefix(connection, prefix, folder, planned=(prefix, None) in amounts)
            for prefix in dict.fromkeys(prefix for prefix, _ in amounts if prefix is not None)
        }
        earliest = rows(connection, queries.EARLIEST)
    return OrphanFigures(
        amounts=amounts,
        plans={prefix: plan for prefix, plan in plans.items() if plan is not None},
        earliest=Earliest(at=earliest[0][0], hold=earliest[0][1]) if earliest else None,
    )


def _write_prefix(connection: duckdb.DuckDBPyConnection, prefix: str, folder: Path, *, planned: bool) -> PlanFile | None:
    own = folder / prefix_folder(prefix)
    own.mkdir()
    _copy(connection, queries.HOLDS, prefix, own / "holds.parquet")
    if not planned:
        return None
    plan = own / "plan.parquet"
    _copy(connection, queries.PLAN, prefix, plan)
    [(last_chunk,)] = rows(connection, queries.LAST_CHUNK, {"file": str(plan)})
    return PlanFile(file=str(plan.relative_to(folder)), sha256=sha256_of(plan), chunks=last_chunk + 1)


def _copy(connection: duckdb.DuckDBPyConnection, query: str, prefix: str, file: Path) -> None:
    connection.execute(query, {"prefix": prefix, "file": str(file)}).fetchall()


def _view(connection: duckdb.DuckDBPyConnection, name: str, files: list[str], empty: str) -> None:
    relation: Any = connection.read_parquet(files, union_by_name=True) if files else connection.sql(empty)
    relation.create_view(name)
