"""Opens DuckDB the one way it is opened here: bounded memory, a spill folder, UTC. Queries live with the stages that ask them."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

SPILL = "spill"
MANY_ROWS = 1_000_000


def machine_memory() -> int:
    """Bytes of memory that this process may use: the container's limit if there is one, else the machine's."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else "max"
    return machine if text == "max" else min(int(text), machine)


@contextmanager
def duck(spill_under: Path, *, memory_bytes: int | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with half of the memory (or `memory_bytes`), spilling below `spill_under`.

    `preserve_insertion_order` is off: keeping it would make DuckDB hold whole results; what needs an order says ORDER BY.
    """
    with duckdb.connect() as connection:
        connection.execute("SET memory_limit = $limit", {"limit": f"{(memory_bytes or machine_memory() // 2) // 2**20}MiB"})
        connection.execute("SET temp_directory = $spill", {"spill": str(spill_under / SPILL)})
        connection.execute("SET preserve_insertion_order = false")
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


def rows(connection: duckdb.DuckDBPyConnection, sql: str, parameters: Mapping[str, object] | None = None) -> list[tuple[Any, ...]]:
    """All rows of a small answer. Drained whole: in DuckDB 2.0 a result left unread locks its connection."""
    return connection.execute(sql, dict(parameters or {})).fetchall()


def arrow_table(connection: duckdb.DuckDBPyConnection, sql: str, parameters: Mapping[str, object]) -> pa.Table:
    """A whole answer as one table: for batches that are small by construction."""
    return arrow_batches(connection, sql, parameters, rows_each=MANY_ROWS).read_all()


def arrow_batches(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: Mapping[str, object], *, rows_each: int
) -> pa.RecordBatchReader:
    """An answer of any size, streamed. The connection is locked until it is drained."""
    # Of `execute` DuckDB 2.0 would hold the whole answer in memory, outside its limit, and warn of it.
    reader: pa.RecordBatchReader = connection.sql(sql, params=dict(parameters)).to_arrow_reader(rows_each)
    return reader
