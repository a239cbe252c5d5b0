"""Brings back one chunk of what ledgers say was deleted: by its markers first, then what only its copy can bring back."""

from collections.abc import Sequence
from concurrent.futures import Executor
from functools import partial
from typing import TYPE_CHECKING

from orphan_pipeline.deletion.quarantine.copying import Copier
from orphan_pipeline.deletion.undo.copies import copied_back
from orphan_pipeline.deletion.undo.markers import unmarked
from orphan_pipeline.deletion.undo.outcomes import Line, Result

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def bring_back(
    client: "S3Client", bucket: str, lines: Sequence[Line], pool: Executor, *, named: bool, include_unknown: bool
) -> list[Result]:
    """One result a line, in order; `lines` ascend by key, and each key is there once. It may be asked again: what is back already is
    `restored`. `named`: somebody asked for these very keys, not for all of a plan."""
    marked = [line for line in lines if line["version_id"] is not None or line["copy"] is None]
    unmark = partial(unmarked, client, bucket, pool=pool, named=named, include_unknown=include_unknown)
    results = dict(zip((line["key"] for line in marked), unmark(marked) if marked else [], strict=True))
    copier = Copier(client=client)
    from_copy = [
        line for line in lines if line["copy"] is not None and (line["key"] not in results or results[line["key"]].outcome == "lost")
    ]
    results |= dict(
        zip((line["key"] for line in from_copy), pool.map(lambda line: copied_back(copier, bucket, line), from_copy), strict=True)
    )
    return [results[line["key"]] for line in lines]
