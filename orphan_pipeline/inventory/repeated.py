"""Looks for an object that stands in an inventory twice, where the order of the list did not rule it out: a page that a store gives again
brings its rows again, and may have come in the place of another."""

from pathlib import Path

import pyarrow.parquet as pq

from orphan_pipeline.duck import duck, rows

MEMORY = 96 * 2**20
"""What does not fit is spilled: a listing is flat in memory, and so is this."""

ROWS_A_PASS = 50_000_000
"""What is grouped at once is bounded too, since each part of what DuckDB spills must fit into its memory again."""

# Hashes first, since they take a quarter of the room; only what has one hash is compared itself. Both on one connection: in another
# version of DuckDB, hash() is another function. Without the casts the remainder is one of 128 bits, and costs more than the rest.
LISTED = "(SELECT key, version_id, hash(key, version_id) AS hashed FROM read_parquet($inventory, hive_partitioning = false))"
ALIKE = f"SELECT hashed FROM {LISTED} WHERE hashed % $passes::UBIGINT = $number::UBIGINT GROUP BY hashed HAVING count(*) > 1 LIMIT 1000"
REPEATED = f"""
SELECT key FROM {LISTED} WHERE list_contains($alike, hashed) GROUP BY key, version_id HAVING count(*) > 1 ORDER BY key LIMIT 1
"""


def repeated_key(inventory: Path) -> str | None:
    """A key of which one version stands there more than once."""
    passes = pq.read_metadata(inventory).num_rows // ROWS_A_PASS + 1
    with duck(inventory.parent, memory_bytes=MEMORY) as connection:
        for number in range(passes):
            alike = [hashed for (hashed,) in rows(connection, ALIKE, {"inventory": str(inventory), "passes": passes, "number": number})]
            if alike and (found := rows(connection, REPEATED, {"inventory": str(inventory), "alike": alike})):
                return str(found[0][0])
    return None
