"""What any source of the inventory gives of each object."""

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
