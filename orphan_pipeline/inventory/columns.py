"""What any source of the inventory gives of each object, and of each of its versions where those are asked for."""

import pyarrow as pa

from orphan_pipeline.lake.columns import column

TIME = pa.timestamp("us", tz="UTC")

LISTED = pa.schema(
    [
        column("key", pa.string(), "the object's name, exactly as the store gives it"),
        column("size", pa.int64(), "bytes"),
        column("last_modified", TIME, "when it was written; of a multipart object, when its upload began"),
        column("etag", pa.string(), "without quotes"),
        column("storage_class", pa.string(), "STANDARD where the store says nothing"),
    ]
)

OF_A_VERSION = pa.schema(
    [
        column("version_id", pa.string(), "the store's id of this version; null where versions were not asked for", nullable=True),
        column("is_latest", pa.bool_(), "whether this is the key's current version"),
        column("is_delete_marker", pa.bool_(), "whether this is a delete marker, which has no bytes and no ETag"),
    ]
)

VERSIONS = pa.schema([*LISTED, *OF_A_VERSION])

CURRENT = "is_latest AND NOT is_delete_marker"
"""SQL over the inventory: what is in the bucket now. Whoever asks what exists, or joins on keys, reads only these rows."""
