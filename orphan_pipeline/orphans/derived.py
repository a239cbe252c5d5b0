"""What globs among the variants keep: objects that they match are referenced like any other. Which object a template matches belongs in
`references.derived`; without such templates nothing happens here."""

from collections.abc import Mapping, Sequence

import duckdb

from orphan_pipeline.orphans import queries
from orphan_pipeline.references.derived import glob_matches_sql


def matched_by_globs(connection: duckdb.DuckDBPyConnection, globs: Mapping[str, Sequence[str]]) -> None:
    """Widens the view `refs` by every object of `inventory` that a template matches for one of its source's keys.

    `globs` holds templates by source; only objects that nothing else refers to are looked at. To be called once, after
    the views `inventory` and `refs` are made and before anything is asked of them.
    """
    if not globs:
        return
    for statement in (queries.UNLISTED, queries.GLOB_MATCHED):
        connection.execute(statement).fetchall()
    for source, templates in globs.items():
        quoted = f"'{source}'"  # a name of the settings: letters, digits and _ only
        connection.execute(queries.GLOB_PARENTS.format(source=quoted)).fetchall()
        for template in templates:
            matches, parameters = glob_matches_sql(template, objects="unlisted", parents="glob_parents")
            connection.execute(queries.MATCH_GLOB.format(matches=matches, source=quoted), parameters).fetchall()
    connection.execute("ALTER VIEW refs RENAME TO listed_refs").fetchall()
    connection.execute(queries.WITH_GLOB_MATCHED).fetchall()
