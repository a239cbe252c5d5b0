"""Which glob among the variants keeps one object that no reference names: the source, the template and one reference that it stands for.
What a template matches belongs in `references.derived`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb

from orphan_pipeline.duck import rows
from orphan_pipeline.lake.layout import SweepFolder
from orphan_pipeline.references.derived import glob_matches_sql
from orphan_pipeline.references.variants import filled_sql

THE_OBJECT = "CREATE OR REPLACE TEMP TABLE the_object AS SELECT $key AS key"
# Of millions of references only those with which the key begins as the template does.
PARENTS = """
CREATE OR REPLACE TEMP TABLE parents AS
SELECT key FROM read_parquet($files, hive_partitioning = false) WHERE source = $source AND NOT derived AND starts_with($key, {head})
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptBy:
    """`parent` is a reference of `source`; filled with it, `template` matches the key."""

    source: str
    template: str
    parent: str


def kept_by_a_glob(
    connection: duckdb.DuckDBPyConnection, sweep: SweepFolder, key: str, globs: Mapping[str, Sequence[str]]
) -> KeptBy | None:
    """The first of the templates (by source) that matches, over the references of the sweep."""
    for source, templates in globs.items():
        for template in templates:
            parameters: dict[str, str] = {}
            head = filled_sql(template.partition("*")[0], parameters)
            names = {**parameters, "key": key, "source": source}
            connection.execute(PARENTS.format(head=head), {**names, "files": sweep.parquet("references")})
            connection.execute(THE_OBJECT, {"key": key})
            query, filled = glob_matches_sql(template, objects="the_object", parents="parents")
            for _, parent in rows(connection, query, filled):
                return KeptBy(source=source, template=template, parent=parent)
    return None
