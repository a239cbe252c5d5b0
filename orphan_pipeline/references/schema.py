"""What the reference snapshot's Parquet holds: one row a reference, none dropped, none merged.

    key      exact, after the source's key rules; never empty
    source   name of the source in the settings
    derived  true for a key made by a `variants` template from the row's key, false for a key that the row itself gives
    row_id   the row that gives the key, as text: its primary key (a JSON array if that has several columns), else its
             ctid, else (views, `sql` sources) its place in the answer

The same key may stand in several rows. What is uncertain only ever adds references: more of them protect more objects.
"""

import pyarrow as pa

REFERENCES_VERSION = 1

REFERENCES = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("source", pa.dictionary(pa.int16(), pa.string()), nullable=False),
        pa.field("derived", pa.bool_(), nullable=False),
        pa.field("row_id", pa.string(), nullable=False),
    ],
    metadata={"orphan_pipeline.references": str(REFERENCES_VERSION)},
)
