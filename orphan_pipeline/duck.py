"""Opens DuckDB the one way it is opened here: bounded memory, a spill folder, UTC. Queries live with the stages that ask them."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

SPILL = "spill"
MANY_ROWS = 1_000_000
BYTES_A_THREAD = 64 * 2**20
"""Each thread holds buffers of its own, outside of what can be spilled: with less, more threads end in "out of memory"."""

UNCOUNTED = 192 * 2**20

CONTROL_GROUPS = Path("/sys/fs/cgroup")
OWN_CONTROL_GROUPS = Path("/proc/self/cgroup")


def machine_memory() -> int:
    """Bytes of memory that this process may use: the least of the machine's and of every control group's that it runs in."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *control_group_limits(CONTROL_GROUPS, OWN_CONTROL_GROUPS)])


def control_group_limits(root: Path, own: Path) -> Iterator[int]:
    """Of versions 2 and 1. In a container its own group is the root; outside, any group above the process may have a limit."""
    groups = [line.split(":", 2) for line in own.read_text().splitlines()] if own.is_file() else []
    for hierarchy, controllers, path in [("0", "", "/"), ("", "memory", "/"), *groups]:
        if hierarchy == "0":
            base, name = root, "memory.max"
        elif "memory" in controllers.split(","):
            base, name = root / "memory", "memory.limit_in_bytes"
        else:
            continue
        place = base / path.lstrip("/")
        for folder in [place, *place.parents]:
            if folder.is_relative_to(base) and (folder / name).is_file():
                text = (folder / name).read_text().strip()
                if text != "max":
                    yield int(text)


@contextmanager
def duck(spill_under: Path, *, memory_bytes: int | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection within half of the memory (or `memory_bytes`), spilling below `spill_under`. A fifth of it, 192 MiB at most, stays
    free for what DuckDB does not count, and for the row groups that Python writes: at 1 GiB and 20 M objects both came to 190 MiB.

    `preserve_insertion_order` is off: keeping it would make DuckDB hold whole results; what needs an order says ORDER BY.
    """
    memory = memory_bytes or machine_memory() // 2
    memory -= min(memory // 5, UNCOUNTED)
    with duckdb.connect() as connection:
        connection.execute("SET memory_limit = $limit", {"limit": f"{memory // 2**20}MiB"})
        connection.execute("SET temp_directory = $spill", {"spill": str(spill_under / SPILL)})
        connection.execute("SET preserve_insertion_order = false")
        connection.execute("SET TimeZone = 'UTC'")
        # Where Python runs no file, DuckDB takes itself for interactive and draws on standard output, which is for --json.
        connection.execute("SET enable_progress_bar = false")
        [(threads,)] = connection.execute("SELECT current_setting('threads')").fetchall()
        connection.execute("SET threads = $threads", {"threads": max(1, min(threads, memory // BYTES_A_THREAD))})
        yield connection


def view_files(connection: duckdb.DuckDBPyConnection, name: str, files: Sequence[str], columns: Mapping[str, str]) -> None:
    """A view of these columns (name and type) over Parquet files of the lake, or over nothing where there is no file yet."""
    if files:
        # As a relation, since a view takes no parameters. hive_partitioning would take a folder `key=a` above the lake for a column.
        relation = connection.read_parquet(list(files), union_by_name=True, hive_partitioning=False)
    else:
        nothing = ", ".join(f'NULL::{kind} AS "{column}"' for column, kind in columns.items())
        relation = connection.sql(f"SELECT {nothing} WHERE false")
    relation.project(", ".join(f'"{column}"' for column in columns)).create_view(name)


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
