"""Rule 4b on a real PostgreSQL: every element of every array yields a key, is declared to be ignored, or fails the sweep."""

import json
from collections.abc import Callable

import pytest

from orphan_pipeline.errors import Refused
from orphan_pipeline.settings.model import ReferenceSettings
from references.conftest import Database, Take

Source = Callable[..., ReferenceSettings]

A = "$.attachments[*]"
URL = "$.attachments[*].url"
FILE = "$.attachments[*].file.key"
THUMB = "$.attachments[*].thumb"


def store(app: Database, *values: str | None, kind: str = "jsonb") -> None:
    app.run(f"CREATE TABLE documents (id bigint PRIMARY KEY, data {kind})")
    with app.admin.cursor() as cursor:
        cursor.executemany("INSERT INTO documents VALUES (%s, %s)", list(enumerate(values, start=1)))


def attachments(*elements: object) -> str:
    return json.dumps({"attachments": elements})


@pytest.mark.parametrize(
    ("paths", "ignore", "document", "keys"),
    [
        ([A], (), attachments("a.jpg", "b.jpg"), ["a.jpg", "b.jpg"]),
        ([A, URL], (), attachments("a.jpg", {"url": "b.jpg"}), ["a.jpg", "b.jpg"]),
        ([URL, "$.attachments[*].thumb"], (), attachments({"url": "a", "thumb": "b"}), ["a", "b"]),
        ([URL], (), attachments({"url": "a", "size": 3, "name": None}), ["a"]),
        ([URL], (), attachments({"url": "a"}, {"url": "a"}), ["a", "a"]),
        ([FILE], (), attachments({"file": {"key": "a"}}), ["a"]),
        ([FILE, "$.attachments[*].file"], (), attachments({"file": "a"}, {"file": {"key": "b"}}), ["a", "b"]),
        ([FILE, URL], (), attachments({"file": None, "url": "a"}), ["a"]),
        ([URL], ("$.attachments[*].external",), attachments({"external": "x"}, {"url": "a"}), ["a"]),
        ([URL], ("$.attachments[*].external",), attachments({"external": None, "url": None}), []),
        # What stands in an ignored element still protects.
        ([URL], ("$.attachments[*].external",), attachments({"external": "x", "url": "a"}), ["a"]),
        ([URL], (URL,), attachments({"url": None}), []),
        ([URL, THUMB], (URL,), attachments({"url": None, "thumb": "b"}), ["b"]),
        ([FILE], ("$.attachments[*].file",), attachments({"file": None}, {"file": {"key": "a"}}), ["a"]),
        (["$.avatar", "$.banner"], ("$.avatar",), '{"avatar": null, "banner": "b"}', ["b"]),
        ([A], (A,), attachments(None, "a"), ["a"]),
        ([A], (A,), '{"attachments": null}', []),
        ([URL], (A,), '{"attachments": null}', []),
        ([URL], (A,), attachments(None, {"url": "a"}), ["a"]),
        # An array's path without [*] marks nothing, and takes nothing away.
        ([URL], ("$.attachments",), attachments({"url": "a"}), ["a"]),
        ([A], (), '{"attachments": []}', []),
        ([A], (), '{"other": 1}', []),
        ([A], (), "{}", []),
        ([A], (), "null", []),
        ([A], (), None, []),
        ([A], (), '{"attachments": "a.jpg"}', ["a.jpg"]),
        ([URL], (), '{"attachments": {"url": "a.jpg"}}', ["a.jpg"]),
        (["$[*]"], (), '["a", "b"]', ["a", "b"]),
        (["$.more.attachments[*]"], (), '{"more": null}', []),
        (["$.more.attachments[*]"], (), '{"more": {"attachments": ["a"]}}', ["a"]),
        (["$.avatar"], (), '{"avatar": "a"}', ["a"]),
        (["$.avatar"], (), "{}", []),
        (["$.avatar"], ("$.avatar",), '{"avatar": null}', []),
        (["$.avatar"], ("$.deleted",), '{"avatar": 5, "deleted": true}', []),
        (["$.avatar.key"], (), '{"avatar": {"key": "a"}}', ["a"]),
        (["$.avatar.key"], (), '{"avatar": null}', []),
        (["$"], (), '"a.jpg"', ["a.jpg"]),
        ([A, "$.avatar"], (), '{"attachments": ["a"], "avatar": "b"}', ["a", "b"]),
        (["$.a[*]", "$.b[*]"], (), '{"a": ["1"], "b": ["2"]}', ["1", "2"]),
        (['$."my files"[*]."the key"'], (), '{"my files": [{"the key": "a"}]}', ["a"]),
        (["$.exists[*].strict"], (), '{"exists": [{"strict": "a"}]}', ["a"]),
        ([A], (), attachments(" a ", 'q"uo\\te', "é😀", "e\u0301", "a\nb"), [" a ", 'q"uo\\te', "é😀", "e\u0301", "a\nb"]),
    ],
)
def test_what_a_document_says(
    app: Database, take: Take, source: Source, paths: list[str], ignore: tuple[str, ...], document: str, keys: list[str]
) -> None:
    store(app, document)
    snapshot = take(source(*paths, ignore=ignore))
    assert sorted(snapshot.keys) == sorted(keys)
    [figures] = snapshot.figures.sources
    assert (figures.rows, figures.references, figures.without_key) == (1, len(keys), 0 if keys else 1)


MEMBERS = "add the path of its key there, or one of its members to ignore"
STRING = "expected a string; correct json_paths, or add a member of such values to ignore"
OBJECT = "expected an object with the members that json_paths names; correct json_paths"
EMPTY = "is an empty string, no key; correct the row, or add a member of such values to ignore"


@pytest.mark.parametrize(
    ("paths", "ignore", "document", "message"),
    [
        ([URL], (), attachments("a.jpg"), f'{A} is a string, "a.jpg"; json_paths finds no key in it: {MEMBERS}'),
        ([A, URL], (), attachments({"href": "c"}), f'{A} is an object, {{"href": "c"}}; json_paths finds no key in it: {MEMBERS}'),
        ([A, URL], (), attachments(["d"]), f'{A} is an array, ["d"]; json_paths finds no key in it: {MEMBERS}'),
        # In lax mode this array would be unwrapped: the key would be found, and the ones beside it lost.
        ([URL], (), attachments([{"url": "d"}]), f'{A} is an array, [{{"url": "d"}}]; json_paths finds no key in it: {MEMBERS}'),
        ([A], (), attachments("a", 7), f"{A} is a number, 7; json_paths finds no key in it: {MEMBERS}"),
        ([A], (), attachments(True), f"{A} is a boolean, true; json_paths finds no key in it: {MEMBERS}"),
        ([A], (), attachments({}), f"{A} is an object, {{}}; json_paths finds no key in it: {MEMBERS}"),
        ([A], (), attachments(None), f'{A} is null; if a null there stands for no key, add "{A}" to ignore'),
        ([A], (), '{"attachments": null}', f'{A} is null; if a null there stands for no key, add "{A}" to ignore'),
        ([URL], (), attachments({"url": None}), f'{URL} is null; if a null there stands for no key, add "{URL}" to ignore'),
        ([URL], (), attachments({"url": 5}), f"{URL} is a number, 5; {STRING}"),
        ([URL], (), attachments({"url": ["a"]}), f'{URL} is an array, ["a"]; {STRING}'),
        ([URL, "$.attachments[*].thumb"], (), attachments({"url": "a", "thumb": 1}), f"$.attachments[*].thumb is a number, 1; {STRING}"),
        ([URL, FILE], (), attachments({"url": "a", "file": ["b"]}), f'$.attachments[*].file is an array, ["b"]; {OBJECT}'),
        # Regression: the quick accounting took an array that holds a null for a null.
        ([URL, FILE], (), attachments({"url": "a", "file": [None, "b"]}), f'$.attachments[*].file is an array, [null, "b"]; {OBJECT}'),
        ([FILE], (), attachments({"file": "a"}), f'$.attachments[*].file is a string, "a"; {OBJECT}'),
        # Of an array, [*] is to be written.
        ([URL], ("$.attachments",), '{"attachments": null}', f'{A} is null; if a null there stands for no key, add "{A}" to ignore'),
        # An ignore that names where keys stand lets a null pass, nothing else.
        ([A], (A,), attachments(7), f"{A} is a number, 7; json_paths finds no key in it: {MEMBERS}"),
        ([URL], (URL,), attachments({"url": 5}), f"{URL} is a number, 5; {STRING}"),
        # Regression: what stood beside an ignored null went by unseen.
        ([URL, THUMB], (URL,), attachments({"url": None, "thumb": ["b"]}), f'{THUMB} is an array, ["b"]; {STRING}'),
        ([URL, THUMB], (URL,), attachments({"url": None, "thumb": 5}), f"{THUMB} is a number, 5; {STRING}"),
        (["$.avatar", "$.banner"], ("$.avatar",), '{"avatar": null, "banner": 5}', f"$.banner is a number, 5; {STRING}"),
        # Regression: ignoring what lies on the way to a key made all that lay there pass.
        ([FILE], ("$.attachments[*].file",), attachments({"file": {"key": 5}}), f"{FILE} is a number, 5; {STRING}"),
        (
            [FILE],
            ("$.attachments[*].file",),
            attachments({"file": {}}),
            f'{A} is an object, {{"file": {{}}}}; json_paths finds no key in it: {MEMBERS}',
        ),
        (["$.avatar"], ("$",), '{"avatar": 5}', f"$.avatar is a number, 5; {STRING}"),
        ([A], (), attachments(""), f"{A} {EMPTY}"),
        ([URL], (), attachments({"url": ""}), f"{URL} {EMPTY}"),
        ([A], (), '["a.jpg"]', f'$ is an array, ["a.jpg"]; {OBJECT}'),
        ([A], (), '"a.jpg"', f'$ is a string, "a.jpg"; {OBJECT}'),
        (["$.more.attachments[*]"], (), '{"more": [{"attachments": ["a"]}]}', f'$.more is an array, [{{"attachments": ["a"]}}]; {OBJECT}'),
        (["$.avatar"], (), '{"avatar": 5}', f"$.avatar is a number, 5; {STRING}"),
        (["$.avatar"], (), '{"avatar": ["a"]}', f'$.avatar is an array, ["a"]; {STRING}'),
        (["$.avatar"], (), '{"avatar": null}', '$.avatar is null; if a null there stands for no key, add "$.avatar" to ignore'),
        (["$.avatar"], ("$.avatar",), '{"avatar": 5}', f"$.avatar is a number, 5; {STRING}"),
        (["$[*]"], (), '["a", ["b"]]', f'$[*] is an array, ["b"]; json_paths finds no key in it: {MEMBERS}'),
        ([A], (), attachments("x" * 200 + "", ["y" * 200]), f'{A} is an array, ["{"y" * 77}…; json_paths finds no key in it: {MEMBERS}'),
    ],
)
def test_what_fails_the_sweep(
    app: Database, take: Take, source: Source, paths: list[str], ignore: tuple[str, ...], document: str, message: str
) -> None:
    store(app, attachments() if paths[0].startswith("$.a") else None, document)
    with pytest.raises(Refused) as refused:
        take(source(*paths, ignore=ignore))
    assert str(refused.value) == f"source documents in database app: row id = 2: {message}"


@pytest.mark.parametrize("kind", ["jsonb", "json", "text", "varchar(200)", "char(200)"])
def test_a_column_of_any_kind_that_holds_json(app: Database, take: Take, source: Source, kind: str) -> None:
    store(app, attachments("a"), None, attachments("b"), kind=kind)
    assert take(source(A)).keys == ["a", "b"]


@pytest.mark.parametrize(
    ("kind", "document", "said"),
    [
        ("text", "{oops", "invalid input syntax for type json"),
        ("text", "", "invalid input syntax for type json"),
        ("json", '{"attachments": ["\\u0000"]}', "unsupported Unicode escape sequence"),
    ],
)
def test_a_document_that_does_not_parse(app: Database, take: Take, source: Source, kind: str, document: str, said: str) -> None:
    store(app, attachments("a"), document, attachments("b"), kind=kind)
    with pytest.raises(Refused) as refused:
        take(source(A))
    assert str(refused.value) == f"source documents in database app: row id = 2: data does not parse: {said}"


def test_a_column_that_holds_something_else(app: Database, take: Take, source: Source) -> None:
    app.run("CREATE TABLE documents (id bigint, data text[])")
    with pytest.raises(Refused) as refused:
        take(source(A))
    assert str(refused.value) == (
        "source documents in database app: column data is of type text[], expected jsonb, json, or text that holds JSON"
    )


@pytest.mark.parametrize(
    ("definition", "row_id", "label"),
    [
        ("id bigint PRIMARY KEY", "7", "row id = 7"),
        ('id bigint, "No" int DEFAULT 3, PRIMARY KEY ("No", id)', "[3, 7]", "row (No, id) = [3, 7]"),
        ("id bigint UNIQUE", "(0,1)", "row ctid = (0,1)"),
    ],
)
def test_the_row_that_a_reference_comes_from(app: Database, take: Take, source: Source, definition: str, row_id: str, label: str) -> None:
    app.run(
        f"CREATE TABLE documents ({definition}, data jsonb)",
        """INSERT INTO documents (id, data) VALUES (7, '["a"]')""",
    )
    assert take(source("$[*]")).rows == [("a", "documents", False, row_id)]
    app.run("TRUNCATE documents", """INSERT INTO documents (id, data) VALUES (7, '[4]')""")
    with pytest.raises(Refused, match="is a number, 4") as refused:
        take(source("$[*]"))
    assert f": {label}: " in str(refused.value)


def test_rows_of_views_and_partitions(app: Database, take: Take, source: Source) -> None:
    app.run(
        "CREATE TABLE parted (id bigint, data jsonb) PARTITION BY LIST (id)",
        "CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1)",
        "CREATE TABLE parted_2 PARTITION OF parted FOR VALUES IN (2)",
        """INSERT INTO parted VALUES (1, '["a"]'), (2, '["b", "c"]')""",
        "CREATE VIEW documents AS SELECT data FROM parted ORDER BY id",
    )
    assert [row[::3] for row in take(source("$[*]")).rows] == [("a", "1"), ("b", "2"), ("c", "2")]
    parted = take(source("$[*]", table="parted")).rows
    assert sorted(row[::3] for row in parted) == [
        ("a", "parted_1 (0,1)"),
        ("b", "parted_2 (0,1)"),
        ("c", "parted_2 (0,1)"),
    ]


def test_rows_of_tables_that_inherit(app: Database, take: Take, source: Source) -> None:
    """Regression: the primary key is the table's own. Those that inherit may hold its values again, and (before PostgreSQL 18) none."""
    app.run(
        "CREATE TABLE documents (id bigint PRIMARY KEY, data jsonb, key text)",
        "CREATE TABLE more () INHERITS (documents)",
        """INSERT INTO documents VALUES (1, '["a"]', 'x')""",
        """INSERT INTO more VALUES (1, '["b"]', 'y'), (1, '["c"]', 'z')""",
    )
    for one, keys in ((source("$[*]"), "abc"), (source(column="key"), "xyz")):
        taken = take(one)
        assert sorted((key, row_id) for key, _, _, row_id in taken.rows) == [
            (keys[0], "documents (0,1)"),
            (keys[1], "more (0,1)"),
            (keys[2], "more (0,2)"),
        ]
        assert taken.figures.sources[0].rows == 3


def test_names_are_quoted(app: Database, take: Take, source: Source) -> None:
    app.run(
        "CREATE SCHEMA other",
        'CREATE TABLE other."Documents" (id bigint PRIMARY KEY, "Data" jsonb)',
        """INSERT INTO other."Documents" VALUES (1, '["a"]')""",
    )
    assert take(source("$[*]", table="other.Documents", column="Data")).keys == ["a"]


@pytest.mark.parametrize(
    ("types", "document", "keys"),
    [
        (["string", "number"], attachments("a", 7, 1.5), ["a", "7", "1.5"]),
        (["number"], attachments(7), ["7"]),
        (["string", "null"], attachments("a", None), ["a"]),
        (["string", "number", "null"], attachments(None, 7, {"url": None}, {"url": 8}, {"url": "b"}), ["7", "8", "b"]),
        (["string", "null"], '{"attachments": null}', []),
    ],
)
def test_what_may_stand_where_keys_do(app: Database, take: Take, source: Source, types: list[str], document: str, keys: list[str]) -> None:
    store(app, document)
    assert sorted(take(source(A, URL, expect_types=types)).keys) == sorted(keys)


@pytest.mark.parametrize(
    ("types", "document", "message"),
    [
        (["number"], attachments(7, "a"), f'{A} is a string, "a"; json_paths finds no key in it: {MEMBERS}'),
        (["number"], attachments({"url": "a"}), f'{URL} is a string, "a"; expected a number; {STRING.partition("; ")[2]}'),
        (
            ["string", "number"],
            attachments({"url": True}),
            f"{URL} is a boolean, true; expected a string or number; {STRING.partition('; ')[2]}",
        ),
        (["string", "null"], attachments({"url": 5}), f"{URL} is a number, 5; {STRING}"),
        # Regression: beside a null that may be, anything went.
        (["string", "null"], attachments({"url": None, "thumb": 5}), f"{THUMB} is a number, 5; {STRING}"),
        (["string", "null"], attachments({"size": 5}), f'{A} is an object, {{"size": 5}}; json_paths finds no key in it: {MEMBERS}'),
    ],
)
def test_what_may_not_stand_where_keys_do(app: Database, take: Take, source: Source, types: list[str], document: str, message: str) -> None:
    store(app, None, document)
    with pytest.raises(Refused) as refused:
        take(source(A, URL, THUMB, expect_types=types))
    assert str(refused.value) == f"source documents in database app: row id = 2: {message}"
