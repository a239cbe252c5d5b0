"""The orphan set of one sweep: what no reference points at, each orphan with its hold or in its prefix's plan.

`orphans/{prefix}/plan.parquet`: schema PLAN, ordered by key; immutable once published.
`orphans/{prefix}/holds.parquet`: schema HOLDS, with the reason of each hold and its evidence.
Unowned orphans are counted; `orphans/unowned.parquet` (schema LISTED) lists them where the settings ask for it.
`lookup/forms.parquet`: see forms.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from orphan_pipeline.deletion.undo.held import view_restored
from orphan_pipeline.duck import arrow_batches, duck, rows
from orphan_pipeline.inventory.columns import LISTED
from orphan_pipeline.inventory.snapshot import Amount
from orphan_pipeline.lake.layout import SweepFolder
from orphan_pipeline.orphans import queries
from orphan_pipeline.orphans.derived import matched_by_globs
from orphan_pipeline.orphans.files import HOLDS, PLAN, ROW_GROUP, PlanFile, write_prefixes
from orphan_pipeline.orphans.forms import write_forms
from orphan_pipeline.orphans.manifest import Earliest
from orphan_pipeline.orphans.protection import protecting_glob
from orphan_pipeline.orphans.resembling import find_resembling
from orphan_pipeline.orphans.views import view_inventory, view_previous, view_references

__all__ = ["HOLDS", "PLAN", "HoldLimits", "OrphanFigures", "PlanFile", "write_orphan_set"]

UNOWNED = "unowned.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldLimits:
    """What decides between plan and hold (rules 2, 3, 5, 6, 7 and the cap). `hosts`: what may stand before a key in the place of a host
    (the bucket's name among them), for rule 6."""

    min_age: timedelta
    multipart_grace: timedelta
    confirmations: int
    confirmation_gap: timedelta
    max_deletions: int
    protect: Sequence[str]
    own_prefixes: Sequence[str]
    hosts: Sequence[str] = ()


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
    memory_bytes: int | None = None,
    list_unowned: bool = False,
    globs: Mapping[str, Sequence[str]] | None = None,
) -> OrphanFigures:
    """Joins the two snapshots of one sweep and writes plans and holds into `folder`, and the references' forms into the sweep. Nothing is
    held in Python but figures and two row groups. `globs`: by source, the templates with a `*` that its references have as variants.

    Raises Refused when the inventory holds an owned orphan twice.
    """
    with duck(folder, memory_bytes=memory_bytes) as connection:
        place = view_inventory(connection, sweep)
        place_of_reference = view_references(connection, sweep)
        view_previous(connection, previous)
        view_restored(connection, restored, released or [])
        connection.execute(queries.UNREFERENCED.format(place=place))
        matched_by_globs(connection, globs or {}, place=place)
        connection.execute(queries.ORPHANS.format(place=place))
        with sweep.writing("lookup") as lookup:
            forms = write_forms(connection, limits.hosts, lookup)
            find_resembling(connection, forms, limits.hosts, place=place_of_reference)
        _hold(connection, limits, sweep_at, cutoff)
        cap = _cap(connection, limits.max_deletions)
        by_prefix = rows(connection, queries.BY_PREFIX_AND_HOLD, cap)
        amounts = {(prefix, hold): Amount(objects, size) for prefix, hold, objects, size in by_prefix}
        unowned = _unowned(connection, place, folder if list_unowned else None)
        earliest = rows(connection, queries.EARLIEST)
        plans = write_prefixes(arrow_batches(connection, queries.IN_ORDER, cap, rows_each=ROW_GROUP), folder)
    return OrphanFigures(
        amounts={**amounts, **({(None, "unowned"): unowned} if unowned.objects else {})},
        plans=plans,
        earliest=Earliest(at=earliest[0][0], hold=earliest[0][1]) if earliest else None,
    )


def _hold(connection: duckdb.DuckDBPyConnection, limits: HoldLimits, sweep_at: datetime, cutoff: datetime) -> None:
    protected_by, parameters = protecting_glob(limits.protect, limits.own_prefixes)
    connection.execute(
        queries.HELD.format(protected_by=protected_by),
        {
            **parameters,
            "sweep_at": sweep_at,
            "cutoff": cutoff,
            "min_age": limits.min_age,
            "multipart_grace": limits.multipart_grace,
            "confirmations": limits.confirmations,
            "gap": limits.confirmation_gap,
        },
    )
    connection.execute("DROP TABLE orphans")


def _cap(connection: duckdb.DuckDBPyConnection, max_deletions: int) -> dict[str, object]:
    """The last of the oldest that may go; nulls where all may."""
    last = rows(connection, queries.CAP, {"max_deletions": max_deletions})
    return {"cap_time": last[0][0], "cap_key": last[0][1]} if last else {"cap_time": None, "cap_key": None}


def _unowned(connection: duckdb.DuckDBPyConnection, place: str, folder: Path | None) -> Amount:
    """Counted, and on wish listed."""
    [(objects, size)] = rows(connection, queries.UNOWNED_AMOUNT.format(place=place))
    if folder is not None:
        with pq.ParquetWriter(folder / UNOWNED, LISTED, compression="zstd", use_dictionary=["storage_class"]) as writer:  # type: ignore[arg-type]
            for batch in arrow_batches(connection, queries.UNOWNED_ROWS.format(place=place), {}, rows_each=ROW_GROUP):
                writer.write_batch(batch.cast(LISTED))
    return Amount(objects, size)
