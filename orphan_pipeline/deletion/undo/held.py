"""What was brought back and not released since: it is held in every sweep (rule 7), it is what a release may end, and its copies stay in
quarantine. Of the same object, what was restored after it was released is held again."""

from collections.abc import Sequence

import duckdb

from orphan_pipeline.duck import view_files

RECORDED = {"key": "VARCHAR", "etag": "VARCHAR", "at": "TIMESTAMPTZ"}

RESTORED = """
CREATE TEMP VIEW restored AS
SELECT key, etag, restored_at
FROM (SELECT key, etag, max("at") AS restored_at FROM ever_restored GROUP BY key, etag) AS latest
WHERE NOT EXISTS (FROM released WHERE released.key = latest.key AND released.etag = latest.etag AND released."at" >= restored_at)
"""


def view_restored(connection: duckdb.DuckDBPyConnection, restored: Sequence[str], released: Sequence[str]) -> None:
    """The view `restored` (key, etag, restored_at), from the files of the restores and of the releases."""
    view_files(connection, "ever_restored", restored, RECORDED)
    view_files(connection, "released", released, RECORDED)
    connection.execute(RESTORED).fetchall()
