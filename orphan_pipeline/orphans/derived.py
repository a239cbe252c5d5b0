"""What globs among the variants keep: objects that they match are referenced like any other. Which object a template matches belongs in
`references.derived`; without such templates nothing happens here."""

from collections.abc import Mapping, Sequence

import duckdb

from orphan_pipeline.orphans import queries
from orphan_pipeline.references.derived import glob_matches_sql


def matched_by_globs(connection: duckdb.DuckDBPyConnection, globs: Mapping[str, Sequence[str]], *, place: str) -> None:
    """Takes out of the table `unreferenced` every object that a template matches for one of its source's keys.

    `globs` holds templates by source, `place` the columns that tell the place of an object. Only objects that nothing else refers to
    are looked at.
    """
    if not globs:
        return
    connection.execute(queries.UNLISTED.format(place=place))
    connection.execute(queries.GLOB_MATCHED)
    for source, templates in globs.items():
        quoted = f"'{source}'"  # a name of the settings: letters, digits and _ only
        connection.execute(queries.GLOB_PARENTS.format(source=quoted))
        for template in templates:
            matches, parameters = glob_matches_sql(template, objects="unlisted", parents="glob_parents")
            connection.execute(queries.MATCH_GLOB.format(matches=matches), parameters).fetchall()
    connection.execute(queries.STILL_UNREFERENCED.format(place=place))
    connection.execute("DROP TABLE unlisted")
