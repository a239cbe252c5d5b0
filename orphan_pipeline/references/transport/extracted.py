"""What one answer of a database said, before it means anything as a key."""

from dataclasses import dataclass

import pyarrow as pa

RAW = pa.schema([pa.field("row_id", pa.string(), nullable=False), pa.field("raw", pa.string(), nullable=False)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Extracted:
    """`values` has the schema `RAW`, one row a raw value. Of the source's `rows`, `without_key` gave none. `received` are bytes of the
    answer itself. `plain`: it was seen that no value is empty and none holds two slashes in a row."""

    values: pa.Table
    rows: int
    without_key: int
    received: int
    plain: bool = False


class BadRow(Exception):
    """A row that does not say what it should: `problem` as the statement has it."""

    def __init__(self, row_id: str, problem: str) -> None:
        super().__init__(row_id)
        self.row_id = row_id
        self.problem = problem
