"""Asking the databases again (rule 10): an index gives what a pass gives, and says nothing by itself; several databases are looked at so
that a row that moves is seen; what does not answer refuses."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from orphan_pipeline.demo.servers import PostgresServer
from orphan_pipeline.duck import duck
from orphan_pipeline.errors import Refused
from orphan_pipeline.references.cut import DatabaseUnderCut, open_cut
from orphan_pipeline.references.recheck import asking
from orphan_pipeline.references.recheck.asking import Asker, By, looks, recheck_advice
from orphan_pipeline.references.recheck.indexes import equal_to_any, forms_of_documents
from orphan_pipeline.references.recheck.reading import read_keys, reading_of
from orphan_pipeline.references.recheck.ways import narrowed, raws_of
from orphan_pipeline.settings.model import ReferenceSettings

ROWS = 20_000
Source = Callable[..., ReferenceSettings]


def array(*keys: str) -> "pa.ChunkedArray[pa.StringScalar]":
    return pa.chunked_array([pa.array(keys, pa.string())])


@pytest.fixture
def ask(app: Any, tmp_path: Path) -> Callable[..., dict[str, str]]:
    """`ask(sources, *keys)`: which keys are in use, by which source."""

    def run(sources: list[ReferenceSettings], *keys: str, by: By = "auto", **urls: str) -> dict[str, str]:
        databases = {name: DatabaseUnderCut(url=url) for name, url in (urls or {"app": app.url}).items()}
        with Asker(databases=databases, sources=sources, spill_under=tmp_path, by=by) as asker:
            return dict(asker.ask(array(*keys)).in_use)

    return run


def fill(app: Any, statement: str) -> None:
    app.run("CREATE TABLE documents (id bigserial PRIMARY KEY, data jsonb, name text, names text[], token uuid)", statement)
    app.run("ANALYZE documents")


KINDS: list[tuple[dict[str, Any], str, list[str]]] = [
    ({"column": "data", "json_paths": ["$.files[*]"]}, "data", ["files/7", "files/none"]),
    (
        {"column": "data", "json_paths": ["$.files[*]", "$.pages[*].url"], "key": {"strip": ["https://cdn/"]}},
        "data",
        ["files/7", "pages/9"],
    ),
    ({"column": "data", "json_paths": ["$.cover.url"]}, "data", ["covers/7", "covers/none"]),
    ({"column": "name", "key": {"prepend": "up/"}}, "name", ["up/names/7", "names/7"]),
    ({"column": "names"}, "names", ["arrays/7", "arrays/none"]),
    ({"column": "token"}, "token", ["00000000-0000-0000-0000-000000000007", "no uuid at all"]),
]


@pytest.mark.parametrize(("kind", "column", "keys"), KINDS, ids=["strings", "two_places", "scalar", "text", "array", "uuid"])
def test_without_an_index_it_is_a_pass_and_with_the_advised_one_the_index_is_used(
    app: Any, ask: Callable[..., dict[str, str]], tmp_path: Path, kind: dict[str, Any], column: str, keys: list[str]
) -> None:
    fill(
        app,
        "INSERT INTO documents (data, name, names, token) SELECT jsonb_build_object('files', jsonb_build_array('files/' || n), 'pages', "
        "jsonb_build_array(jsonb_build_object('url', 'https://cdn/pages/' || n)), 'cover', jsonb_build_object('url', 'covers/' || n)), "
        f"'names/' || n, ARRAY['arrays/' || n], lpad(n::text, 32, '0')::uuid FROM generate_series(1, {ROWS}) AS n",
    )
    source = ReferenceSettings.model_validate({"name": "documents", "database": "app", "table": "documents", **kind})
    by_pass = ask([source], *keys)
    assert by_pass
    databases = {"app": DatabaseUnderCut(url=app.url)}
    with open_cut(databases, [source]) as cuts:
        [way] = recheck_advice([source], cuts)
    assert (way.form, way.words) == (None, "by one pass: no index that the planner would use for its keys")
    assert way.indexes
    app.run(*way.indexes, "ANALYZE documents")
    with open_cut(databases, [source]) as cuts:
        [way] = recheck_advice([source], cuts)
    assert way.words == "by index"
    assert ask([source], *keys) == by_pass


def test_a_number_is_found_though_an_index_holds_the_documents(app: Any, ask: Callable[..., dict[str, str]], source: Source) -> None:
    """Regression: containment knows no number as text, and the index that found the strings passed over the numbers."""
    files = "jsonb_build_object('files', jsonb_build_array(n, 's' || n))"
    fill(app, f"INSERT INTO documents (data) SELECT {files} FROM generate_series(1, {ROWS}) AS n")
    app.run("CREATE INDEX ON documents USING gin ((data -> 'files') jsonb_path_ops)", "ANALYZE documents")
    both = source("$.files[*]", expect_types=["string", "number"])
    assert ask([both], "8", "s7", "x7") == {"8": "documents", "s7": "documents"}
    with open_cut({"app": DatabaseUnderCut(url=app.url)}, [both]) as cuts:
        assert [way.words for way in recheck_advice([both], cuts)] == ["by one pass: its keys may be numbers, which no index finds as text"]


def test_a_statement_is_asked_by_the_index_below_it(
    app: Any, ask: Callable[..., dict[str, str]], statement: Source, tmp_path: Path
) -> None:
    fill(app, f"INSERT INTO documents (name) SELECT 'names/' || n FROM generate_series(1, {ROWS}) AS n")
    app.run("CREATE INDEX ON documents (name)", "ANALYZE documents")
    source = statement("SELECT name FROM documents WHERE id > 3 -- all but the first")
    with open_cut({"app": DatabaseUnderCut(url=app.url)}, [source]) as cuts:
        assert [way.words for way in recheck_advice([source], cuts)] == ["by index"]
    assert ask([source], "names/7", "names/2", "x' OR true --") == {"names/7": "avatars"}


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"key": {"drop_query": True}}, "its key rules cannot be undone"),
        ({"key": {"decode": "percent"}}, "its key rules cannot be undone"),
        ({"variants": ["{dir}{stem}@2x{suffix}"]}, "its variants are derived from keys that are not known beforehand"),
    ],
)
def test_what_cannot_be_undone_is_a_pass_whatever_the_index(
    app: Any, source: Source, tmp_path: Path, changed: dict[str, Any], why: str
) -> None:
    fill(
        app,
        "INSERT INTO documents (data) SELECT jsonb_build_object('files', jsonb_build_array('f/' || n)) "
        f"FROM generate_series(1, {ROWS}) AS n",
    )
    app.run("CREATE INDEX ON documents USING gin (data jsonb_path_ops)", "ANALYZE documents")
    with open_cut({"app": DatabaseUnderCut(url=app.url)}, [source("$.files[*]")]) as cuts:
        ways = recheck_advice([source("$.files[*]", **changed), source("$.files[*]")], cuts)
    assert [way.words for way in ways] == [f"by one pass: {why}", "by index"]


# What begins as JSON does may be refused (test_encoded_twice.py).
TEXT = st.text(st.characters(exclude_characters='\0"[{', exclude_categories=["Cs"]), min_size=1, max_size=4) | st.sampled_from(
    ["a", "it's", '"', "\\", "%", "a{}", 'a["b"]', "a\nb", "$", "ü", "*"]
)


def test_postgresql_is_asked_for_the_very_values(app: Any) -> None:
    """They go as one array in PostgreSQL's own syntax."""
    odd = [
        "NULL",
        "null",
        "a,b",
        "{x}",
        "{",
        "}",
        '"',
        '""',
        "\\",
        "end\\",
        '\\"',
        "it's",
        "''",
        " ",
        "\n",
        "%s",
        "$1",
        "E'",
        "ü",
        "\U0001f600",
    ]
    with psycopg.connect(app.url) as connection:
        asked = equal_to_any(sql.SQL("v"), "text", odd).as_string(connection)
        values = sql.SQL(", ").join(sql.SQL("({})").format(sql.Literal(value)) for value in [*odd, "other", "NUL"])
        found = connection.execute(sql.SQL("SELECT v FROM (VALUES {}) AS t(v) WHERE {}").format(values, sql.SQL(asked))).fetchall()
        nothing = connection.execute(sql.SQL("SELECT {}").format(equal_to_any(sql.Literal("a"), "text", []))).fetchone()
    assert sorted(value for (value,) in found) == sorted(odd)
    assert nothing == (False,)


LEAF = TEXT | TEXT.map(lambda text: f"https://cdn/{text}")
DOCUMENT = st.fixed_dictionaries(
    {},
    optional={
        "a": st.lists(LEAF | st.fixed_dictionaries({"u": LEAF}), max_size=3) | LEAF | st.fixed_dictionaries({"u": LEAF}),
        "b": st.fixed_dictionaries({}, optional={"c": LEAF, "d": st.just(7)}),
        "e": st.integers(),
    },
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(documents=st.lists(DOCUMENT, max_size=5), keys=st.sets(TEXT, min_size=1, max_size=8))
def test_every_form_of_a_condition_finds_what_a_pass_finds(
    app: Any, source: Source, tmp_path: Path, documents: list[dict[str, Any]], keys: set[str]
) -> None:
    """Lax arrays too: a single value in an array's place is one of its elements. Without an index, so that the condition is what counts."""
    app.run("DROP TABLE IF EXISTS documents", "CREATE TABLE documents (id bigserial PRIMARY KEY, data jsonb)")
    for document in documents:
        app.admin.execute("INSERT INTO documents (data) VALUES (%s)", [json.dumps(document)])
    own = source("$.a[*]", "$.a[*].u", "$.b.c", key={"strip": ["https://cdn/"]})
    forms = forms_of_documents(table=sql.Identifier("documents"), column="data", json_paths=own.json_paths, partitioned=False)
    asked = array(*keys)

    def found(of: ReferenceSettings, cut: Any) -> set[str]:
        tables = read_keys(reading_of(of, cut))
        return {str(key) for table in tables for key in table["key"].to_pylist()} & keys

    with open_cut({"app": DatabaseUnderCut(url=app.url)}, [own]) as cuts, duck(tmp_path) as connection:
        raws = raws_of(own, connection, asked)
        expected = found(own, cuts["app"])
        for form in forms:
            assert found(narrowed(own, form, raws, cuts["app"]), cuts["app"]) == expected


def test_variants_and_globs_count(app: Any, ask: Callable[..., dict[str, str]], source: Source) -> None:
    fill(app, """INSERT INTO documents (data) VALUES ('{"files": ["a/b.jpg"]}')""")
    own = source("$.files[*]", variants=["{dir}{stem}@2x{suffix}", "variants/{key}/**"])
    keys = ["a/b.jpg", "a/b@2x.jpg", "variants/a/b.jpg/w100/x.webp", "variants/a/c.jpg/w100/x.webp", "a/c.jpg"]
    assert set(ask([own], *keys)) == set(keys[:3])


def test_a_file_is_read_again(app: Any, ask: Callable[..., dict[str, str]], tmp_path: Path) -> None:
    (tmp_path / "export.csv").write_text("path\nin/use\n")
    own = ReferenceSettings.model_validate({"name": "export", "file": str(tmp_path / "export.csv"), "column": "path"})
    assert ask([own], "in/use", "not/in/use") == {"in/use": "export"}
    (tmp_path / "export.csv").unlink()
    with pytest.raises(Refused, match="export"):
        ask([own], "in/use")


def test_a_row_that_moves_from_b_to_a_between_the_looks_is_seen(
    app: Any, ask: Callable[..., dict[str, str]], postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = postgres.create_database("recheck_archive")
    document = """INSERT INTO documents (data) VALUES ('{"files": ["moved"]}')"""
    with psycopg.connect(archive, autocommit=True) as connection:
        connection.execute("CREATE TABLE documents (data jsonb)")
        connection.execute(document)
        fill(app, "SELECT 1")
        order: list[str] = []

        @contextmanager
        def moving(databases: Any, sources: Any, *, limits: Any = None) -> Iterator[Any]:
            [*named] = databases
            if len(named) == 1:  # a look; both together are opened to find the ways
                order.extend(named)
                if order == ["app", "archive"]:
                    app.run(document)
                    connection.execute("DELETE FROM documents")
            with open_cut(databases, sources, limits=limits) as cuts:
                yield cuts

        monkeypatch.setattr(asking, "open_cut", moving)
        sources = [
            ReferenceSettings.model_validate(
                {"name": name, "database": name, "table": "documents", "column": "data", "json_paths": ["$.files[*]"]}
            )
            for name in ("app", "archive")
        ]
        assert ask(sources, "moved", app=app.url, archive=archive) == {"moved": "app"}
        assert order == ["app", "archive", "app"]
    postgres.drop_database("recheck_archive")


def test_with_three_databases_each_is_looked_at_behind_each_other() -> None:
    order = looks(["a", "b", "a", "c"])
    assert order == ["a", "b", "c", "a", "b"]
    assert all(order[order.index(one) :].count(other) for one in "abc" for other in "abc")


def test_what_does_not_answer_or_is_not_as_declared_refuses_in_one_line(
    app: Any, ask: Callable[..., dict[str, str]], source: Source
) -> None:
    fill(app, """INSERT INTO documents (data) VALUES ('{"files": [["nested"]]}')""")
    with pytest.raises(Refused, match=r"^source documents in database app: row id = 1: "):
        ask([source("$.files[*]")], "nested", by="pass")
    with pytest.raises(Refused, match=r"^database app: "):
        ask([source("$.files[*]")], "nested", app="postgresql://nobody:secret@127.0.0.1:1/none")
    app.run("DROP TABLE documents")
    with pytest.raises(Refused, match=r"^source documents in database app: "):
        ask([source("$.files[*]")], "nested")


def test_another_server_than_the_pinned_one_is_refused(app: Any, source: Source, tmp_path: Path) -> None:
    fill(app, "SELECT 1")
    databases = {"app": DatabaseUnderCut(url=app.url, system_identifier="7")}
    with (
        Asker(databases=databases, sources=[source("$.files[*]")], spill_under=tmp_path) as asker,
        pytest.raises(Refused, match="another server or database"),
    ):
        asker.ask(array("x"))
