"""Sources that are a column without documents: text, uuid, arrays, URLs, free text with a pattern; `where`; views and partitions."""

from datetime import timedelta

import psycopg
import pytest

from orphan_pipeline.errors import Refused
from orphan_pipeline.references.cut import Limits
from orphan_pipeline.references.extract import count_rows
from orphan_pipeline.settings.model import ReferenceSettings
from references.conftest import Database, Take, query

EMPTY = "the value is an empty string, which is no key; leave such rows out of the source, or correct them"
UUID = "e5a0e7b4-34c9-4c1c-8d7f-5b6f3c0c1a11"


def column(table: str, name: str, **more: object) -> ReferenceSettings:
    return ReferenceSettings.model_validate({"name": "files", "database": "app", "table": table, "column": name, **more})


@pytest.mark.parametrize(
    ("kind", "values", "keys"),
    [
        ("text", "('a/b.jpg'), (NULL), (' c ')", [" c ", "a/b.jpg"]),
        ("varchar(20)", "('a')", ["a"]),
        ("uuid", f"('{UUID}')", [UUID]),
        ("bigint", "(7)", ["7"]),
        ("text[]", "(ARRAY['a', 'b,c']), (NULL), ('{}')", ["a", "b,c"]),
        ("text[]", "(ARRAY[ARRAY['a', 'b'], ARRAY['c', 'd']])", ["a", "b", "c", "d"]),
        ("varchar(9)[]", "(ARRAY['a'])", ["a"]),
        ("uuid[]", f"(ARRAY['{UUID}'::uuid])", [UUID]),
        ("a_key", "('a')", ["a"]),
        ("some_keys", "(ARRAY['a', 'b'])", ["a", "b"]),
        ("a_kind", "('a')", ["a"]),
    ],
)
def test_every_value_and_every_element_is_a_key(app: Database, take: Take, kind: str, values: str, keys: list[str]) -> None:
    app.run(
        "CREATE DOMAIN a_key AS text",
        "CREATE DOMAIN some_keys AS text[]",
        "CREATE TYPE a_kind AS ENUM ('a')",
        f"CREATE TABLE files (id serial PRIMARY KEY, key {kind})",
        f"INSERT INTO files (key) VALUES {values}",
    )
    snapshot = take(column("files", "key"))
    assert sorted(snapshot.keys) == keys
    [figures] = snapshot.figures.sources
    assert figures.references == len(keys)
    assert (figures.rows, figures.without_key) == (values.count("("), values.count("NULL") + values.count("{}"))


@pytest.mark.parametrize(
    ("kind", "values", "said"),
    [
        ("text", "('a'), ('')", f"row id = 2: {EMPTY}"),
        ("text[]", "('{a,NULL}')", "row id = 1: an element of the array is NULL; if that stands for no key, set ignore_null: true"),
        ("text[]", "('{a,\"\"}')", f"row id = 1: {EMPTY}"),
        (
            "jsonb",
            "('{}')",
            "column key is of type jsonb, expected text, uuid or an array of them, or json_paths for the keys in its documents",
        ),
        ("jsonb[]", "('{}')", "column key is of type jsonb[], expected text, uuid or an array of them"),
        ("bytea", r"('\x61')", "column key is of type bytea, expected text, uuid or an array of them"),
        ("boolean", "(true)", "column key is of type boolean, expected text, uuid or an array of them"),
    ],
)
def test_what_is_no_key_fails_the_sweep(app: Database, take: Take, kind: str, values: str, said: str) -> None:
    app.run(f"CREATE TABLE files (id serial PRIMARY KEY, key {kind})", f"INSERT INTO files (key) VALUES {values}")
    with pytest.raises(Refused) as refused:
        take(column("files", "key"))
    assert str(refused.value) == f"source files in database app: {said}"


def test_elements_that_are_null_can_be_excused(app: Database, take: Take) -> None:
    app.run("CREATE TABLE files (key text[], one text)", "INSERT INTO files VALUES ('{a,NULL,b}', 'c')")
    assert take(column("files", "key", ignore_null=True)).keys == ["a", "b"]
    with pytest.raises(Refused, match="ignore_null is for arrays of texts, but column one is of type text"):
        take(column("files", "one", ignore_null=True))


def test_urls_become_keys_and_those_of_others_are_counted(app: Database, take: Take) -> None:
    app.run(
        "CREATE TABLE users (id serial PRIMARY KEY, avatar text)",
        """INSERT INTO users (avatar) VALUES ('https://cdn.example.com/uploads/a%20b.png?v=1'), ('//acme.s3.amazonaws.com/uploads/c.png'),
           ('https://www.gravatar.com/x%FF'), (NULL), ('/uploads/d+e.png')""",
    )
    key = {"strip": ["https://cdn.example.com/", {"bucket": "acme"}], "drop_query": True, "decode": "form", "leading_slash": "drop"}
    with pytest.raises(Refused, match=r"row id = 3: a URL under no declared base, https://www.gravatar.com/…; if it is the bucket"):
        take(column("users", "avatar", key=key))
    for excused in (True, ["https://www.gravatar.com/"]):
        snapshot = take(column("users", "avatar", key=key | {"ignore_foreign": excused}, variants=["{dir}small/{stem}{suffix}"]))
        assert sorted(k for k, _, derived, _ in snapshot.rows if not derived) == ["uploads/a b.png", "uploads/c.png", "uploads/d e.png"]
        assert sorted(k for k, _, derived, _ in snapshot.rows if derived) == [
            "uploads/small/a b.png",
            "uploads/small/c.png",
            "uploads/small/d e.png",
        ]
        [figures] = snapshot.figures.sources
        assert (figures.rows, figures.references, figures.foreign, figures.without_key, figures.derived) == (5, 3, 1, 1, 3)
    with pytest.raises(Refused, match="gravatar"):
        take(column("users", "avatar", key=key | {"ignore_foreign": ["https://elsewhere.example.com/"]}))


def test_the_buckets_own_host_is_not_excused_however_it_is_written(app: Database, take: Take) -> None:
    app.run(
        "CREATE TABLE users (id serial PRIMARY KEY, avatar text)", "INSERT INTO users (avatar) VALUES ('http://CDN.example.com/u/a.png')"
    )
    key = {"strip": ["https://cdn.example.com/"], "prepend": "u/", "ignore_foreign": True}
    with pytest.raises(Refused, match=r"row id = 1: a URL under no declared base, http://CDN.example.com/…; if it is the bucket's, add"):
        take(column("users", "avatar", key=key))


BODY = """<p>See <img src="/media/a.jpg"> and <a href='/media/b%20c.pdf'>this</a>,
<img src="/media/a.jpg"></p>"""


@pytest.mark.parametrize(
    ("pattern", "keys"),
    [
        (r"""(?:src|href)=["']/media/([^"']+)["']""", ["a.jpg", "a.jpg", "b%20c.pdf"]),
        (r"""src="/media/([^"]+)"|href='/media/([^']+)'""", ["a.jpg", "a.jpg", "b%20c.pdf"]),
        (r"""[a-z]+\.(?:jpg|pdf)""", ["a.jpg", "a.jpg", "c.pdf"]),
        ("nothing like it", []),
    ],
)
def test_a_pattern_finds_keys_in_free_text(app: Database, take: Take, pattern: str, keys: list[str]) -> None:
    app.run("CREATE TABLE posts (id serial PRIMARY KEY, body text)")
    app.admin.execute("INSERT INTO posts (body) VALUES (%s), ('no file here'), (NULL), ('')", [BODY])
    snapshot = take(column("posts", "body", pattern=pattern))
    assert sorted(snapshot.keys) == keys
    assert {row_id for *_, row_id in snapshot.rows} <= {"1"}
    [figures] = snapshot.figures.sources
    assert (figures.rows, figures.without_key) == (4, 3 if keys else 4)
    [of_sql] = [take(ReferenceSettings(name="posts", database="app", sql="SELECT body FROM posts -- all", pattern=pattern))]
    assert sorted(of_sql.keys) == keys


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("(", "source files in database app: pattern: invalid regular expression: parentheses () not balanced"),
        ("x*", "source files in database app: row id = 1: the value is an empty string, which is no key"),
        ("<(?:p|(x))>", "source files in database app: row id = 1: pattern matches, but none of its groups captures anything"),
    ],
)
def test_a_pattern_that_finds_no_key(app: Database, take: Take, pattern: str, said: str) -> None:
    app.run("CREATE TABLE posts (id serial PRIMARY KEY, body text)", "INSERT INTO posts (body) VALUES ('<p>')")
    with pytest.raises(Refused) as refused:
        take(column("posts", "body", pattern=pattern))
    assert str(refused.value).startswith(said)


def test_a_pattern_is_for_text(app: Database, take: Take) -> None:
    app.run("CREATE TABLE posts (body jsonb)")
    with pytest.raises(Refused, match="pattern looks into a column of type jsonb, expected text"):
        take(column("posts", "body", pattern="x"))


def test_rows_outside_of_where_are_not_read(app: Database, take: Take) -> None:
    app.run(
        "CREATE TABLE files (id serial PRIMARY KEY, key text, gone boolean, note text)",
        "INSERT INTO files (key, gone, note) VALUES ('a', false, '{}'), ('', true, 'broken'), ('c;}%s', false, '{\"k\": \"x\"}')",
    )
    kept = column("files", "key", where="NOT gone -- {those} that are 100% there")
    assert take(kept).keys == ["a", "c;}%s"]
    assert count_rows(kept, app.admin) == 2
    documents = column("files", "note", json_paths=["$.k"], where="NOT gone")
    assert take(documents).keys == ["x"]
    with pytest.raises(Refused, match="row id = 2: note does not parse"):
        take(column("files", "note", json_paths=["$.k"]))
    with pytest.raises(Refused, match='column "nowhere" does not exist'):
        take(column("files", "key", where="nowhere = 1"))


def test_what_a_condition_reads_is_locked_too(app: Database, take: Take) -> None:
    app.run(
        "CREATE TABLE files (owner int, key text)",
        "INSERT INTO files VALUES (1, 'a'), (2, 'b')",
        "CREATE TABLE owners (id int)",
        "INSERT INTO owners VALUES (1)",
    )
    source = column("files", "key", where="owner IN (SELECT id FROM owners)")
    assert take(source).keys == ["a"]
    with psycopg.connect(app.url) as migration:
        migration.execute("LOCK TABLE owners IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(Refused, match="lock timeout"):
            take(source, limits=Limits(lock_timeout=timedelta(milliseconds=300)))


@pytest.mark.parametrize(
    "made",
    [
        "CREATE VIEW shown AS SELECT key FROM files",
        "CREATE TABLE shown (key text) PARTITION BY LIST (key); CREATE TABLE p1 PARTITION OF shown FOR VALUES IN ('a'); "
        "CREATE TABLE p2 PARTITION OF shown DEFAULT; INSERT INTO shown SELECT key FROM files",
    ],
    ids=["view", "partitioned table"],
)
def test_what_is_no_plain_table(app: Database, take: Take, made: str) -> None:
    app.run("CREATE TABLE files (key text)", "INSERT INTO files VALUES ('a'), ('b')", *made.split("; "))
    assert sorted(take(column("shown", "key")).keys) == ["a", "b"]
    assert take(column("shown", "key", where="key > 'a'")).keys == ["b"]


def test_instead_of_a_materialized_view_its_query(app: Database, take: Take) -> None:
    app.run("CREATE TABLE files (key text)", "INSERT INTO files VALUES ('a')", "CREATE MATERIALIZED VIEW shown AS SELECT key FROM files")
    with pytest.raises(Refused, match=r"it is a materialized view, .* name its query as sql"):
        take(column("shown", "key"))
    [(definition,)] = app.admin.execute("SELECT rtrim(pg_get_viewdef('shown'), ';')").fetchall()
    app.run("INSERT INTO files VALUES ('b')")
    assert sorted(take(query(definition)).keys) == ["a", "b"]


def test_globs_are_told_and_not_listed(app: Database, take: Take) -> None:
    app.run("CREATE TABLE files (key text)", "INSERT INTO files VALUES ('a.jpg')")
    snapshot = take(column("files", "key", variants=["variants/{key}/**", "{stem}@2x{suffix}", "{dir}{stem}-*x*{suffix}"]))
    assert snapshot.keys == ["a.jpg", "a@2x.jpg"]
    [figures] = snapshot.figures.sources
    assert figures.globs == ("variants/{key}/**", "{dir}{stem}-*x*{suffix}")
