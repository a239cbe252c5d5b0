"""The forms of all references, in a file of their own: hashes of what `lax` makes of each key, with the place of the reference. The sweep
looks for references that resemble an orphan in it, and `why` for those that resemble any key: Bloom filters leave nearly all of the
file unread.

`lookup/forms.parquet`: file (number of the references' file, in the order of names), row (in that file), form (hash of the form). Its
metadata names what made the hashes: they are never compared with others.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from orphan_pipeline.duck import arrow_batches
from orphan_pipeline.lake.columns import column
from orphan_pipeline.lake.layout import SweepFolder
from orphan_pipeline.orphans import queries
from orphan_pipeline.orphans.lax import FORM_ID, with_form

FILE = "forms.parquet"
ROW_GROUP = 122_880
MADE_BY = b"orphan_pipeline.forms"
FALSE_POSITIVES = 0.01

FORMS = pa.schema(
    [
        column("file", pa.int32(), "number of the references' file, in the order of their names"),
        column("row", pa.int64(), "row of the reference in that file"),
        column("form", pa.uint64(), "hash of the reference's lax form"),
    ]
)


def made_by(hosts: Sequence[str]) -> bytes:
    """What decides a hash: only equal ones are compared."""
    return json.dumps([FORM_ID, sorted(hosts)]).encode()


def write_forms(connection: duckdb.DuckDBPyConnection, hosts: Sequence[str], folder: Path) -> str:
    """Streams the forms of the view `refs` into `folder`; gives the file."""
    relation, parameters = with_form("(SELECT key, file_index, file_row_number FROM refs)", hosts)
    path = folder / FILE
    schema = FORMS.with_metadata({MADE_BY: made_by(hosts)})
    with pq.ParquetWriter(
        path,
        schema,
        compression={"file": "zstd", "row": "none", "form": "none"},
        column_encoding={"row": "DELTA_BINARY_PACKED"},
        use_dictionary=["file"],  # type: ignore[arg-type]  # pyarrow takes names too; its stub only knows the bool
        bloom_filter_options={"form": {"ndv": ROW_GROUP, "fpp": FALSE_POSITIVES}},
    ) as writer:
        query = queries.REFERENCE_FORMS.format(with_form=relation)
        for batch in arrow_batches(connection, query, parameters, rows_each=ROW_GROUP):
            writer.write_table(pa.Table.from_batches([batch]).cast(schema))
    return str(path)


def forms_of(sweep: SweepFolder, hosts: Sequence[str]) -> str | None:
    """The file, if its hashes are the ones that this release would make; else None."""
    path = sweep.stage("lookup") / FILE
    if not path.is_file():
        return None
    return str(path) if (pq.read_schema(path).metadata or {}).get(MADE_BY) == made_by(hosts) else None
