"""Looks for an object that stands in an inventory twice, where the order of the list did not rule it out: a page that a store gives again
brings its rows again, and may have come in the place of another."""

from pathlib import Path

from orphan_pipeline.duck import duck, rows

MEMORY = 192 * 2**20
"""What does not fit is spilled: a listing is flat in memory, and so is this."""

# Hashes first, since they take a quarter of the room; what has one hash is compared itself. Both in one query: DuckDB's hash() is another
# in another version of it.
REPEATED = """
WITH listed AS (SELECT key, version_id, hash(key, version_id) AS hashed FROM read_parquet($inventory, hive_partitioning = false)),
     alike AS (SELECT hashed FROM listed GROUP BY hashed HAVING count(*) > 1)
SELECT key FROM listed SEMI JOIN alike USING (hashed) GROUP BY key, version_id HAVING count(*) > 1 ORDER BY key LIMIT 1
"""


def repeated_key(inventory: Path) -> str | None:
    """The first key of which one version stands there more than once."""
    with duck(inventory.parent, memory_bytes=MEMORY) as connection:
        found = rows(connection, REPEATED, {"inventory": str(inventory)})
    return str(found[0][0]) if found else None
