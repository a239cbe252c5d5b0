"""Looks for an object that stands in an inventory twice, where the order of a list did not rule it out: a page that a store gives again
brings its rows again, and may have come in the place of another. And in a report, of which S3 promises that it is right in the end."""

from pathlib import Path

import pyarrow.parquet as pq

from orphan_pipeline.duck import duck, rows
from orphan_pipeline.inventory.columns import CURRENT

OF_A_LISTING, OF_A_REPORT = 96 * 2**20, 512 * 2**20
"""Bytes of memory. What does not fit is spilled: a listing is flat in memory, and so is this. Reports are of the largest buckets, and each
pass reads all keys again."""

BYTES_A_ROW = 2
"""What is grouped in one pass is bounded too, since each part of what DuckDB spills must fit into its memory again."""

# Hashes first, since they take a quarter of the room; only what has one hash is compared itself. Both on one connection: in another
# version of DuckDB, hash() is another function. Without the casts the remainder is one of 128 bits, and costs more than the rest.
OF_THE_FILE = "FROM read_parquet($inventory, hive_partitioning = false)"
OBJECTS = f"SELECT key, NULL AS id, hash(key) AS hashed {OF_THE_FILE}"
# Of a key's versions one is current: it stands here under its key alone as well.
VERSIONS = f"""
SELECT key, {{'version': version_id}} AS id, hash(key, id) AS hashed {OF_THE_FILE} UNION ALL
SELECT key, NULL, hash(key) {OF_THE_FILE} WHERE {CURRENT}
"""
ALIKE = "SELECT hashed FROM ({named}) WHERE hashed % $passes::UBIGINT = $number::UBIGINT GROUP BY hashed HAVING count(*) > 1 LIMIT 1000"
REPEATED = "SELECT key FROM ({named}) WHERE list_contains($alike, hashed) GROUP BY key, id HAVING count(*) > 1 ORDER BY key LIMIT 1"


def repeated_key(inventory: Path, *, versions: bool, memory_bytes: int = OF_A_LISTING) -> str | None:
    """A key that stands there more than once; where it holds `versions`, of which one does, or of which two are current."""
    named = VERSIONS if versions else OBJECTS
    passes = pq.read_metadata(inventory).num_rows * (2 if versions else 1) * BYTES_A_ROW // memory_bytes + 1
    with duck(inventory.parent, memory_bytes=memory_bytes) as connection:
        for number in range(passes):
            looking = {"inventory": str(inventory), "passes": passes, "number": number}
            alike = [hashed for (hashed,) in rows(connection, ALIKE.format(named=named), looking)]
            comparing = {"inventory": str(inventory), "alike": alike}
            if alike and (found := rows(connection, REPEATED.format(named=named), comparing)):
                return str(found[0][0])
    return None
