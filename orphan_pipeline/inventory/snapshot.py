"""Writes what the bucket holds to the lake: the inventory snapshot, one row an object, and its figures.

Row groups are of 61,440 rows: enough of them for the join to read on all processors, few enough that their statistics cost nothing, and
small enough that writing one stays far below the memory that a listing may take. Rows stand in the order in which pages came in: the
join hashes and asks for no order, plans are sorted when they are written (they are a fraction of the rows), and sorting here would cost
the listing its flat memory. A single prefix is read by its column, which is dictionary-coded and nearly free to scan.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import TypeVar

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from orphan_pipeline.duck import arrow_table, duck, rows
from orphan_pipeline.errors import Refused
from orphan_pipeline.inventory.clock import StoreTime
from orphan_pipeline.inventory.columns import CURRENT, LISTED, OF_A_VERSION, VERSIONS
from orphan_pipeline.inventory.listing.lister import ListingFigures
from orphan_pipeline.inventory.prefixes import MOST_PARTITIONS, OwnedPrefix, partition_expression
from orphan_pipeline.inventory.sample import KeySample
from orphan_pipeline.lake.columns import column
from orphan_pipeline.progress import Progress

K = TypeVar("K")
INVENTORY = pa.schema(
    [
        *LISTED,
        column("is_multipart", pa.bool_(), "the ETag ends in -N"),
        column("prefix", pa.string(), "the partition that owns the key; null: unowned, never deleted", nullable=True),
        *OF_A_VERSION,
    ]
)
PART = "part-00000.parquet"
ROW_GROUP = 61_440
DICTIONARIES = ["storage_class", "prefix"]
"""Keys and ETags are all different: to look for repetition in them costs a third of the writing."""

# The regular expression only where there is a hyphen: asked of every ETag, it costs a quarter of the query.
MULTIPART = "CASE WHEN contains(etag, '-') THEN regexp_matches(etag, '-[0-9]+$') ELSE false END AS is_multipart"
WITH_OWNER = f"""
SELECT *, {MULTIPART}, {{partition}} AS prefix FROM listed
"""
# Where versions were not asked for, every object is its key's current version. These columns take no room in the file.
WITH_OWNER_CURRENT_ONLY = f"""
SELECT *, {MULTIPART}, {{partition}} AS prefix,
       NULL::VARCHAR AS version_id, true AS is_latest, false AS is_delete_marker FROM listed
"""
# In SQL, DuckDB would take a folder `prefix=x` anywhere above the lake for the column of that name.
AMOUNTS = f"""
SELECT {CURRENT} AS is_current, is_delete_marker, prefix, storage_class, count(*), coalesce(sum(size), 0)::BIGINT
FROM read_parquet($inventory, hive_partitioning = false) GROUP BY ALL ORDER BY ALL
"""


@dataclass(frozen=True, slots=True)
class Amount:
    objects: int
    bytes: int


NOTHING = Amount(0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class InventoryFigures:
    """What the inventory stage wrote down. `started_at`: nothing of it was looked at before (by the store's clock; for a report, the
    start of its scan). `total`, `unowned`, `prefixes` and `storage_classes` are of current objects; `noncurrent` and `delete_markers` (of
    any age) are only known where versions were asked for. `store_clock` and `host_clock` are one moment by two clocks, before the first
    page was read. `cuts` divide the keys evenly, for the next listing. `listing` and `report` tell of the source: one of them is None.
    """

    started_at: datetime
    store_clock: datetime
    host_clock: datetime
    seconds: float
    total: Amount
    unowned: Amount
    prefixes: dict[str, Amount]
    storage_classes: dict[str, Amount]
    noncurrent: Amount = NOTHING
    delete_markers: int = 0
    cuts: tuple[str, ...] = ()
    listing: ListingFigures | None = None
    report: str | None = None

    @property
    def rows(self) -> int:
        """Of the snapshot: current objects, other versions, delete markers."""
        return self.total.objects + self.noncurrent.objects + self.delete_markers


def write_inventory(
    pages: Iterable[pa.RecordBatch],
    *,
    started: StoreTime,
    prefixes: Sequence[OwnedPrefix],
    folder: Path,
    report: Callable[[str], None],
    expected: int | None = None,
    detail: Callable[[], str] | None = None,
) -> InventoryFigures:
    """Streams the pages into `folder`; memory holds one batch of pages. Raises Refused when `split` makes too many partitions."""
    began = monotonic()
    path = folder / PART
    progress = Progress("inventory", "keys", report, total=expected, detail=detail)
    sample = KeySample()
    # pyarrow takes names too; its stub only knows the bool.
    writing = pq.ParquetWriter(path, INVENTORY, compression="zstd", use_dictionary=DICTIONARIES)  # type: ignore[arg-type]
    with duck(folder) as connection, writing as writer:
        for table in _with_owner(connection, pages, prefixes):
            writer.write_table(table)
            sample.add(table["key"])
            progress.add(table.num_rows)
            del table  # or it would be held while the next one is made
    progress.finish()
    with duck(folder) as connection:
        amounts = [_AmountOf(*row) for row in rows(connection, AMOUNTS, {"inventory": str(path)})]
    current = [amount for amount in amounts if amount.is_current]
    by_prefix = _summed(current, lambda amount: amount.prefix)
    owned = {prefix: amount for prefix, amount in by_prefix.items() if prefix is not None}
    if len(owned) > MOST_PARTITIONS:
        raise Refused(f"the declared prefixes make {len(owned):,} partitions, at most {MOST_PARTITIONS:,}: `split` is too deep")
    other = _summed(amounts, lambda amount: "current" if amount.is_current else "marker" if amount.is_delete_marker else "noncurrent")
    return InventoryFigures(
        started_at=started.store,
        store_clock=started.store,
        host_clock=started.host,
        seconds=monotonic() - began,
        total=other.get("current", NOTHING),
        unowned=by_prefix.get(None, NOTHING),
        prefixes=owned,
        storage_classes=_summed(current, lambda amount: amount.storage_class),
        noncurrent=other.get("noncurrent", NOTHING),
        delete_markers=other.get("marker", NOTHING).objects,
        cuts=sample.cuts(),
    )


@dataclass(frozen=True, slots=True)
class _AmountOf:
    is_current: bool
    is_delete_marker: bool
    prefix: str | None
    storage_class: str
    objects: int
    bytes: int


def _summed(amounts: list[_AmountOf], by: Callable[[_AmountOf], K]) -> dict[K, Amount]:
    sums: dict[K, Amount] = {}
    for amount in amounts:
        so_far = sums.get(by(amount), NOTHING)
        sums[by(amount)] = Amount(so_far.objects + amount.objects, so_far.bytes + amount.bytes)
    return sums


def _with_owner(
    connection: duckdb.DuckDBPyConnection, pages: Iterable[pa.RecordBatch], prefixes: Sequence[OwnedPrefix]
) -> Iterator[pa.Table]:
    partition, parameters = partition_expression(prefixes)
    for some in _by_row_group(pages):
        query = WITH_OWNER if some[0].schema == VERSIONS else WITH_OWNER_CURRENT_ONLY
        connection.register("listed", pa.Table.from_batches(some))
        table = arrow_table(connection, query.format(partition=partition), parameters).select(INVENTORY.names).cast(INVENTORY)
        connection.unregister("listed")
        some.clear()  # or the pages would be held as long as the table
        yield table
        del table


def _by_row_group(pages: Iterable[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
    """Pages together until they fill a row group: one write each."""
    some: list[pa.RecordBatch] = []
    rows_in_it = 0
    for page in pages:
        some.append(page)
        rows_in_it += page.num_rows
        if rows_in_it >= ROW_GROUP:
            yield some
            some, rows_in_it = [], 0
    if some:
        yield some
