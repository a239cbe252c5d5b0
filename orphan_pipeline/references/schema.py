"""What the reference snapshot's Parquet holds: one row a reference, none dropped, none merged.

    key      exact, after the source's key rules; never empty
    source   name of the source in the settings
    derived  true for a key made by a `variants` template from the row's key, false for a key that the row itself gives
    row_id   the row that gives the key, as text: its primary key (a JSON array if that has several columns), else its
             ctid, else (views, `sql` sources) its place in the answer

The same key may stand in several rows. What is uncertain only ever adds references: more of them protect more objects.
"""

import pyarrow as pa

from orphan_pipeline.lake.columns import column

REFERENCES_VERSION = 1

REFERENCES = pa.schema(
    [
        column("key", pa.string(), "a key that a row points at, after the source's rules"),
        column("source", pa.dictionary(pa.int16(), pa.string()), "the source's name in the settings"),
        column("derived", pa.bool_(), "made by a template of variants, not given by the row itself"),
        column("row_id", pa.string(), "primary key of the row, else its ctid, else its place in the answer"),
    ],
    metadata={"orphan_pipeline.references": str(REFERENCES_VERSION)},
)
