"""What every asset here does around its stage: the sweep that a run belongs to, refusals as failures of one line, metadata."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq

from orphan_pipeline.assets.names import LAKE
from orphan_pipeline.errors import BadSettings, Refused
from orphan_pipeline.inventory.snapshot import Amount
from orphan_pipeline.lake.columns import meaning_of
from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.resources.bucket import STORE_ERRORS
from orphan_pipeline.resources.lake import LakeResource

SAMPLE_ROWS = 10


def sweep_id_of(run: dg.DagsterRun) -> str:
    """The root run names the sweep, so that a retry from failure goes on with the same one."""
    return run.root_run_id or run.run_id


def bucket_lake(context: dg.AssetExecutionContext | dg.OpExecutionContext, bucket: str) -> BucketLake:
    lake: LakeResource = getattr(context.resources, LAKE)
    return lake.bucket(bucket)


@contextmanager
def one_line_failures() -> Iterator[None]:
    """What the operator can mend is a failure with one line, and trying it again unchanged would change nothing."""
    try:
        yield
    except (Refused, BadSettings) as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    except STORE_ERRORS as error:
        raise dg.Failure(f"the store does not answer as expected: {error}") from error


def table_metadata(files: Sequence[str], schema: pa.Schema, *, folder: str, rows: int) -> dict[str, dg.MetadataValue]:
    """Row count, place, columns and a few rows of a snapshot that lies in the lake as Parquet."""
    return {
        "dagster/row_count": dg.MetadataValue.int(rows),
        "dagster/uri": dg.MetadataValue.text(folder),
        "dagster/column_schema": dg.MetadataValue.table_schema(
            dg.TableSchema(
                [
                    dg.TableColumn(
                        field.name,
                        str(field.type),
                        description=meaning_of(field),
                        constraints=dg.TableColumnConstraints(nullable=field.nullable),
                    )
                    for field in schema
                ]
            )
        ),
        "sample": _sample(files, schema),
    }


def amounts_metadata(amounts: Mapping[str, Amount], *, first: str) -> dg.MetadataValue:
    """Counts and bytes by name, as a table with the first column called `first`."""
    return dg.MetadataValue.table(
        [dg.TableRecord({first: name, "objects": a.objects, "bytes": a.bytes}) for name, a in amounts.items()],
        schema=dg.TableSchema([dg.TableColumn(first, "string"), dg.TableColumn("objects", "int"), dg.TableColumn("bytes", "int")]),
    )


def _sample(files: Sequence[str], schema: pa.Schema) -> dg.MetadataValue:
    columns = dg.TableSchema([dg.TableColumn(field.name, "string") for field in schema])
    for file in files:
        batch = next(pq.ParquetFile(file).iter_batches(batch_size=SAMPLE_ROWS), None)
        if batch is not None and batch.num_rows:
            records = [
                dg.TableRecord({name: "" if value is None else str(value) for name, value in row.items()})
                for row in batch.select(schema.names).to_pylist()
            ]
            return dg.MetadataValue.table(records, schema=columns)
    return dg.MetadataValue.table([], schema=columns)
