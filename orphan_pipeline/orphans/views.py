"""What the queries of this stage stand on: the snapshots of one sweep, the orphan set before it, and what was restored, each as a view."""

from collections.abc import Sequence

import duckdb

from orphan_pipeline.inventory.columns import CURRENT
from orphan_pipeline.lake.layout import SweepFolder
from orphan_pipeline.orphans import queries


def view_inventory(connection: duckdb.DuckDBPyConnection, sweep: SweepFolder) -> str:
    """The objects that stand in the bucket, with the place of each row; gives the columns that tell the place."""
    return _with_places(connection, "inventory", sweep.parquet("inventory"), only=CURRENT)


def view_references(connection: duckdb.DuckDBPyConnection, sweep: SweepFolder) -> str:
    """The references, with the place of each row; gives the columns that tell the place."""
    return _with_places(connection, "refs", sweep.parquet("references"))


def view_previous(connection: duckdb.DuckDBPyConnection, previous: SweepFolder | None) -> None:
    """The orphans that some prefix owned. What is only listed, as unowned, was never sighted."""
    files = [str(path) for path in previous.orphan_files()] if previous else []
    _or_empty(connection, "previous", files, queries.NO_PREVIOUS, queries.PREVIOUS)


def view_restored(connection: duckdb.DuckDBPyConnection, restored: Sequence[str], released: Sequence[str]) -> None:
    """What was brought back and not released since, from the files of the restores and of the releases."""
    _or_empty(connection, "ever_restored", restored, queries.NO_RESTORED, queries.RESTORED_ROWS)
    _or_empty(connection, "released", released, queries.NO_RESTORED, queries.RESTORED_ROWS)
    connection.execute(queries.RESTORED)


def _with_places(connection: duckdb.DuckDBPyConnection, name: str, files: list[str], *, only: str = "true") -> str:
    # As a relation, since a view takes no parameters. hive_partitioning would take a folder `key=a` above the lake for a column.
    relation = connection.read_parquet(files, hive_partitioning=False)
    relation.project("*, file_index, file_row_number").filter(only).create_view(name)
    # A join on one column lets DuckDB pass over row groups, on two it does not: a third more time for the fetching.
    return "file_row_number" if len(files) == 1 else "file_index, file_row_number"


def _or_empty(connection: duckdb.DuckDBPyConnection, name: str, files: Sequence[str], empty: str, columns: str) -> None:
    relation = connection.read_parquet(list(files), union_by_name=True, hive_partitioning=False) if files else connection.sql(empty)
    relation.project(columns).create_view(name)
