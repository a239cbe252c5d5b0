"""What one answer of a database said, before it means anything as a key."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

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

    @classmethod
    def together(cls, several: Sequence[Self]) -> Self:
        """As if one answer had said it all."""
        return cls(
            values=pa.concat_tables([each.values for each in several]),
            rows=sum(each.rows for each in several),
            without_key=sum(each.without_key for each in several),
            received=sum(each.received for each in several),
            plain=all(each.plain for each in several),
        )


class BadRow(Exception):
    """A row that does not say what it should: `problem` as the statement has it."""

    def __init__(self, row_id: str, problem: str) -> None:
        super().__init__(row_id)
        self.row_id = row_id
        self.problem = problem
