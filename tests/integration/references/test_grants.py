"""The role that `check --grants` prints: enough for a sweep, and no more."""

from collections.abc import Iterator

import psycopg
import pytest

from orphan_pipeline.errors import Refused
from orphan_pipeline.references.cut import DatabaseUnderCut
from orphan_pipeline.references.grants import PASSWORD, grants
from orphan_pipeline.settings.model import ReferenceSettings
from references.conftest import Database, Take

SOURCES: list[dict[str, object]] = [
    {"name": "documents", "table": "documents", "column": "data", "json_paths": ["$.key"]},
    {"name": "parts", "table": "parts", "column": "key", "where": "owner IN (SELECT id FROM owners)"},
    {"name": "shown", "table": "shown", "column": "key"},
    {"name": "query", "sql": 'SELECT s.key FROM shown_too AS s JOIN "Mixed" AS m USING (id)'},
]


def sources() -> list[ReferenceSettings]:
    return [ReferenceSettings.model_validate({"database": "app", **source}) for source in SOURCES]


@pytest.fixture
def filled(app: Database) -> Iterator[Database]:
    app.run(
        "CREATE TABLE documents (id int PRIMARY KEY, data jsonb)",
        """INSERT INTO documents VALUES (1, '{"key": "a"}')""",
        "CREATE TABLE parts (owner int, key text) PARTITION BY LIST (owner)",
        "CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1)",
        "INSERT INTO parts VALUES (1, 'b')",
        "CREATE TABLE owners (id int)",
        "INSERT INTO owners VALUES (1)",
        "CREATE SCHEMA other",
        "CREATE TABLE other.hidden (id int, key text, secret text)",
        "INSERT INTO other.hidden VALUES (1, 'c', 'password')",
        "CREATE VIEW shown AS SELECT key FROM other.hidden",
        "CREATE VIEW shown_too AS SELECT id, key FROM other.hidden",
        'CREATE TABLE "Mixed" (id int)',
        'INSERT INTO "Mixed" VALUES (1)',
    )
    yield app
    if app.admin.execute("SELECT 1 FROM pg_roles WHERE rolname = 'orphan_pipeline'").fetchone():
        app.run("DROP OWNED BY orphan_pipeline", "DROP ROLE orphan_pipeline")


def test_a_role_made_of_exactly_this_can_sweep_and_do_nothing_else(filled: Database, take: Take) -> None:
    statements = grants("app", DatabaseUnderCut(url=filled.url), sources())
    assert statements == [
        f"CREATE ROLE \"orphan_pipeline\" LOGIN PASSWORD '{PASSWORD}';",
        'ALTER ROLE "orphan_pipeline" SET default_transaction_read_only = on;',
        'GRANT CONNECT ON DATABASE "references" TO "orphan_pipeline";',
        'GRANT USAGE ON SCHEMA "public" TO "orphan_pipeline";',
        *(
            f'GRANT SELECT ON TABLE "public"."{table}" TO "orphan_pipeline";'
            for table in ("documents", "parts", "owners", "shown", "shown_too", "Mixed")
        ),
    ]
    filled.run(*statements)
    server = filled.url.rpartition("@")[2]
    url = f"postgresql://orphan_pipeline:{PASSWORD}@{server}"
    assert sorted(take(*sources(), app=url).keys) == ["a", "b", "c", "c"]
    with psycopg.connect(url) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT secret FROM other.hidden")
        connection.rollback()
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("DELETE FROM documents")


def test_a_table_that_is_not_there_is_refused(app: Database) -> None:
    with pytest.raises(Refused, match='source documents in database app: relation "documents" does not exist'):
        grants("app", DatabaseUnderCut(url=app.url), sources()[:1])
