"""A column of a file in the lake with its meaning: said once, where the schema is, stored in the file, and shown in the UI."""

from typing import Any

import pyarrow as pa

MEANING = b"meaning"


def column(name: str, kind: "pa.DataType", meaning: str, *, nullable: bool = False) -> "pa.Field[Any]":
    return pa.field(name, kind, nullable=nullable, metadata={MEANING: meaning.encode()})


def meaning_of(field: "pa.Field[Any]") -> str:
    """Empty for a column that has none."""
    return (field.metadata or {}).get(MEANING, b"").decode()
