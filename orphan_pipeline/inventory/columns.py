"""What any source of the inventory gives of each object."""

from typing import Any

import pyarrow as pa

_FIELDS: "list[pa.Field[Any]]" = [
    pa.field("key", pa.string(), nullable=False),
    pa.field("size", pa.int64(), nullable=False),
    pa.field("last_modified", pa.timestamp("us", tz="UTC"), nullable=False),
    pa.field("etag", pa.string(), nullable=False),
    pa.field("storage_class", pa.string(), nullable=False),
]
LISTED = pa.schema(_FIELDS)
"""key (exact), size (bytes), last_modified (UTC), etag (without quotes), storage_class."""
