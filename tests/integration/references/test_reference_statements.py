"""Sources that are a statement: one column of text, whatever gives it."""

from collections.abc import Callable

import pytest

from orphan_pipeline.errors import Refused
from orphan_pipeline.settings.model import ReferenceSettings
from references.conftest import Database, Take

Statement = Callable[..., ReferenceSettings]

ADVICE = "expected text (of JSON take the string with ->>, of an array its elements with unnest)"


@pytest.mark.parametrize(
    ("sql", "keys"),
    [
        ("SELECT 'a'", ["a"]),
        ("SELECT 'a' -- the avatar", ["a"]),
        ("SELECT 'a%b{c}' WHERE 'ab' LIKE 'a%'", ["a%b{c}"]),
        ("VALUES ('a'), (NULL), ('b')", ["a", "b"]),
        ("SELECT 7", ["7"]),
        ("SELECT 'a '::char(4)", ["a"]),
        ("SELECT 'e5a0e7b4-34c9-4c1c-8d7f-5b6f3c0c1a11'::uuid", ["e5a0e7b4-34c9-4c1c-8d7f-5b6f3c0c1a11"]),
        ("SELECT unnest(ARRAY['a', 'b'])", ["a", "b"]),
        ("WITH few AS (SELECT 'a' AS \"the key\") SELECT * FROM few", ["a"]),
        ("SELECT 'a' WHERE false", []),
    ],
)
def test_what_a_statement_gives(app: Database, take: Take, statement: Statement, sql: str, keys: list[str]) -> None:
    assert take(statement(sql)).keys == keys


def test_rows_without_a_key_are_counted(app: Database, take: Take, statement: Statement) -> None:
    snapshot = take(statement("VALUES ('a'), (NULL), ('b'), (NULL)"))
    [figures] = snapshot.figures.sources
    assert (figures.rows, figures.references, figures.without_key) == (4, 2, 2)
    assert snapshot.rows == [("a", "avatars", False, "1"), ("b", "avatars", False, "3")]


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT 'a', 'b'", "its sql gives 2 columns, expected exactly one, the key"),
        ("SELECT", "its sql gives 0 columns, expected exactly one, the key"),
        ("SELECT no FROM nowhere", 'relation "nowhere" does not exist'),
        ("SELECT 1 +", 'syntax error at or near ")"'),
        (
            "SELECT 'a' UNION ALL SELECT ''",
            "row number 2: the value is an empty string, which is no key; leave such rows out of the source, or correct them",
        ),
        ("SELECT (1 / (n - 2))::text FROM generate_series(1, 3) AS n", "division by zero"),
        ("DELETE FROM pg_class RETURNING relname", 'syntax error at or near "FROM"'),
        *(
            (
                f"SELECT {value}",
                f"its sql gives a column of type {kind}, {ADVICE}",
            )
            for value, kind in {
                """'"a"'::jsonb""": "jsonb",
                """'"a"'::json""": "json",
                "ARRAY['a']": "text[]",
                r"'\x61'::bytea": "bytea",
                "ROW('a')": "record",
                "true": "boolean",
            }.items()
        ),
    ],
)
def test_what_is_refused(app: Database, take: Take, statement: Statement, sql: str, said: str) -> None:
    with pytest.raises(Refused) as refused:
        take(statement(sql))
    what = "source avatars in database app"
    assert str(refused.value) == f"{what}: {said}"


def test_nothing_can_be_written(app: Database, take: Take, statement: Statement) -> None:
    app.run(
        "CREATE TABLE written (n int)",
        "CREATE FUNCTION write() RETURNS text LANGUAGE sql AS 'INSERT INTO written VALUES (1) RETURNING n::text'",
    )
    with pytest.raises(Refused, match="cannot execute INSERT in a read-only transaction"):
        take(statement("SELECT write()"))
