"""What the queries of this stage stand on: the snapshots of one sweep, and the orphan set before it, each as a view."""

import duckdb

from orphan_pipeline.duck import view_files
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
    view_files(connection, "previous", files, queries.PREVIOUS)


def _with_places(connection: duckdb.DuckDBPyConnection, name: str, files: list[str], *, only: str = "true") -> str:
    # As a relation, since a view takes no parameters. hive_partitioning would take a folder `key=a` above the lake for a column.
    relation = connection.read_parquet(files, hive_partitioning=False)
    relation.project("*, file_index, file_row_number").filter(only).create_view(name)
    # A join on one column lets DuckDB pass over row groups, on two it does not: a third more time for the fetching.
    return "file_row_number" if len(files) == 1 else "file_index, file_row_number"
