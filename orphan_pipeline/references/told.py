"""What the keys of a reference snapshot tell by themselves, by source: how many are distinct, how many lie where nothing can be deleted.
Whether their objects exist is found out by `orphans`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from orphan_pipeline.duck import duck, rows
from orphan_pipeline.inventory.prefixes import OwnedPrefix, partition_expression
from orphan_pipeline.references.figures import ReferenceFigures

# Exact, distinct keys would have to be held or sorted; this takes a few kilobytes a source, and is off by up to 6 % (seen).
TOLD = """
SELECT source::VARCHAR, approx_count_distinct(key), count(*) FILTER (WHERE ({partition}) IS NULL)
FROM read_parquet($files, hive_partitioning = false) WHERE NOT derived GROUP BY source
"""


def with_keys_told(figures: ReferenceFigures, files: Sequence[str], prefixes: Sequence[str], *, spill_under: Path) -> ReferenceFigures:
    """The figures, and of each source what its own keys tell (those of variants are left out). `files` are the snapshot's."""
    partition, parameters = partition_expression([OwnedPrefix(path=prefix) for prefix in prefixes])
    with duck(spill_under) as connection:
        found = rows(connection, TOLD.format(partition=partition), {"files": list(files), **parameters})
    told = {source: (distinct, outside) for source, distinct, outside in found}
    nothing = (0, 0)
    sources = []
    for source in figures.sources:
        distinct, outside = told.get(source.name, nothing)
        sources.append(replace(source, distinct_keys_about=distinct, outside_prefixes=outside))
    return replace(figures, sources=tuple(sources))
