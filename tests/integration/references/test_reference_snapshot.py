"""The stage as a whole: every reference of every source in one Parquet, or an exception and no file."""

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter

from orphan_pipeline.demo.servers import PostgresServer
from orphan_pipeline.errors import Refused
from orphan_pipeline.references.cut import DatabaseUnderCut
from orphan_pipeline.references.extract import count_rows
from orphan_pipeline.references.schema import REFERENCES
from orphan_pipeline.references.snapshot import PART, ReferenceFigures, snapshot_references
from orphan_pipeline.settings.model import ReferenceSettings
from references.conftest import STARTED, Database, Take

Source = Callable[..., ReferenceSettings]

CDN = {"strip": ["https://cdn.example.com/", "s3://media/"], "drop_query": True, "decode": "percent", "prepend": "uploads/"}


def fill(app: Database) -> None:
    app.run(
        "CREATE TABLE documents (id bigint PRIMARY KEY, data jsonb)",
        """INSERT INTO documents VALUES (1, '{"attachments": ["a.jpg", {"key": "b b.jpg"}]}'), (2, NULL), (3, '{}')""",
        "CREATE TABLE history (id bigint PRIMARY KEY, data jsonb)",
        """INSERT INTO history VALUES (1, '[{"url": "https://cdn.example.com/2026/a%20b+c.jpg?v=3"}, {"url": "x.jpg"}]')""",
    )


def test_sources_with_rules_and_variants(app: Database, source: Source, statement: Source, tmp_path: Path) -> None:
    fill(app)
    lines: list[str] = []
    figures = snapshot_references(
        sources=[
            source("$.attachments[*]", "$.attachments[*].key", variants=["{dir}{stem}@2x{suffix}", "thumbs/{key}"]),
            source("$[*].url", name="history", table="history", key=CDN),
            statement("SELECT 'a.jpg' WHERE false"),
        ],
        databases={"app": DatabaseUnderCut(url=app.url)},
        inventory_started_at=STARTED,
        folder=tmp_path,
        report=lines.append,
    )
    table = pq.read_table(tmp_path / PART)
    assert table.schema.equals(REFERENCES)
    assert table.schema.metadata == REFERENCES.metadata
    assert sorted(zip(*table.to_pydict().values(), strict=True)) == [
        ("a.jpg", "documents", False, "1"),
        ("a@2x.jpg", "documents", True, "1"),
        ("b b.jpg", "documents", False, "1"),
        ("b b@2x.jpg", "documents", True, "1"),
        ("thumbs/a.jpg", "documents", True, "1"),
        ("thumbs/b b.jpg", "documents", True, "1"),
        ("uploads/2026/a b+c.jpg", "history", False, "1"),
        ("uploads/x.jpg", "history", False, "1"),
    ]
    assert [(s.name, s.database, s.rows, s.references, s.derived, s.without_key) for s in figures.sources] == [
        ("documents", "app", 3, 2, 4, 2),
        ("history", "app", 1, 2, 0, 0),
        ("avatars", "app", 0, 0, 0, 0),
    ]
    [cut] = figures.cuts
    assert figures.snapshot_at == cut.snapshot_at
    assert figures.inventory_started_at == STARTED
    assert [line.partition(" in ")[0] for line in lines] == [
        "references: documents: 6 keys",
        "references: history: 2 keys",
        "references: avatars: 0 keys",
    ]
    adapter = TypeAdapter(ReferenceFigures)
    assert adapter.validate_json(adapter.dump_json(figures)) == figures
    assert [path.name for path in tmp_path.iterdir()] == [PART]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (
            "https://img.example.com/secret/a.jpg?X-Amz-Signature=abc",
            'a URL under no declared base, https://img.example.com/…; if it is the bucket\'s, add "https://img.example.com/" to key.strip',
        ),
        (
            "//user:pass@img.example.com:81/a.jpg",
            'a URL under no declared base, //img.example.com:81/…; if it is the bucket\'s, add "//img.example.com:81/" to key.strip',
        ),
        (
            "https%3A%2F%2Fcdn.example.com/a",
            "becomes a URL under no declared base by the rules under key; should decode stand before strip?",
        ),
        ("a%FFb.jpg?token=1", "'a%FFb.jpg' does not percent-decode to UTF-8; if it is a key as it is, take decode out of key"),
        ("50% off.jpg", "'50% off.jpg' does not percent-decode to UTF-8; if it is a key as it is, take decode out of key"),
        (
            "https://cdn.example.com/?v=3",
            "'https://cdn.example.com/' leaves an empty key by the rules under key; correct the row or the rules",
        ),
    ],
)
def test_a_value_that_is_no_key_by_the_rules(app: Database, take: Take, source: Source, value: str, said: str) -> None:
    fill(app)
    app.admin.execute("INSERT INTO history VALUES (77, jsonb_build_array(jsonb_build_object('url', %s::text)))", (value,))
    with pytest.raises(Refused) as refused:
        take(source("$[*].url", name="history", table="history", key=CDN))
    assert str(refused.value) == f"source history in database app: row id = 77: {said}"


def test_a_problem_in_the_last_source_leaves_nothing(app: Database, take: Take, source: Source, statement: Source) -> None:
    fill(app)
    with pytest.raises(Refused, match=r"^source avatars in database app: division by zero$"):
        take(
            source("$[*].url", name="history", table="history", key=CDN),
            statement("SELECT (1 / (60000 - n))::text FROM generate_series(1, 60000) AS n"),
        )


def test_more_rows_than_one_batch(app: Database, take: Take, statement: Source) -> None:
    snapshot = take(statement("SELECT n FROM generate_series(1, 150001) AS n", variants=["{key}.webp"]))
    [figures] = snapshot.figures.sources
    assert (figures.rows, figures.references, figures.derived) == (150_001, 150_001, 150_001)
    assert {key for key, _, derived, _ in snapshot.rows if not derived} == {str(n) for n in range(1, 150_002)}


def test_rows_are_counted_for_check(app: Database, source: Source, statement: Source) -> None:
    fill(app)
    with psycopg.connect(app.url) as connection:
        assert count_rows(source("$[*]"), connection) == 3
        assert count_rows(statement("SELECT 'a%' UNION ALL SELECT 'b' -- two"), connection) == 2
        with pytest.raises(Refused, match=r'^source documents in database app: relation "nowhere" does not exist$'):
            count_rows(source("$[*]", table="nowhere"), connection)


MEASURED = """
import json, re, sys
from datetime import UTC, datetime
from pathlib import Path
from orphan_pipeline.references.cut import DatabaseUnderCut
from orphan_pipeline.references.snapshot import snapshot_references
from orphan_pipeline.references.transport import parallel
from orphan_pipeline.settings.model import ReferenceSettings

url, folder, *sources = sys.argv[1:]
real, at_work = parallel.Thread, []
parallel.Thread = lambda **more: at_work.append(more) or real(**more)
told = []
for source in sources:
    at_work.clear()
    figures = snapshot_references(
        sources=[ReferenceSettings.model_validate_json(source)], databases={"app": DatabaseUnderCut(url=url, connections=3)},
        inventory_started_at=datetime.now(UTC), folder=Path(folder), report=lambda line: None,
    )
    # Not getrusage: its peak goes back to before this program was started, in the process that forked.
    peak = int(re.search(r"VmHWM:\\s+([0-9]+) kB", Path("/proc/self/status").read_text())[1]) // 1024
    told.append((figures.sources[0].references, len(at_work), peak))
print(json.dumps(told))
"""

NAME = "'uploads/2026/11/some/longer/folder/name/' || md5(n::text)"
ROWS = 60_000
SOURCES: dict[str, dict[str, object]] = {
    "statement": {"sql": f"SELECT {NAME} || k FROM generate_series(1, {{rows}}) AS n, generate_series(1, 4) AS k"},
    "documents": {"table": "of_{rows}", "column": "data", "json_paths": ["$.a[*].url"]},
    "documents that do not close": {
        "table": "of_{rows}",
        "column": "data",
        "json_paths": ["$.a[*].url", "$.a[*].b"],
        "optional": ["$.a[*].b"],
        "expect_types": ["string", "number"],
    },
    "arrays": {"table": "of_{rows}", "column": "keys"},
    "keys in free text": {"table": "of_{rows}", "column": "body", "pattern": 'src="([^"]+)"'},
    "texts": {"table": "texts_{rows}", "column": "key"},
}

FILL = f"""
INSERT INTO of_{{rows}}
SELECT n, jsonb_build_object('a', (SELECT jsonb_agg(jsonb_build_object('url', key)) FROM unnest(keys) AS key)), keys,
       (SELECT string_agg(format('<p>See <img src="%s"></p>', key), ' ') FROM unnest(keys) AS key)
FROM (SELECT n, ARRAY(SELECT {NAME} || k FROM generate_series(1, 4) AS k) AS keys FROM generate_series(1, {{rows}}) AS n OFFSET 0) AS rows
"""


@pytest.fixture(scope="module")
def of_two_sizes(postgres: PostgresServer) -> str:
    """A database with tables of `ROWS` rows, and of four times as many, four keys a row; and of as many keys, one a row."""
    url = postgres.create_database("sizes")
    with psycopg.connect(url, autocommit=True) as admin:
        for rows in (ROWS, 4 * ROWS):
            admin.execute(f"CREATE UNLOGGED TABLE of_{rows} (id int PRIMARY KEY, data jsonb, keys text[], body text)".encode())
            admin.execute(FILL.format(rows=rows).encode())
            admin.execute(f"CREATE UNLOGGED TABLE texts_{rows} AS SELECT key FROM of_{rows}, unnest(keys) AS key".encode())
    return url


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc here, which tells the peak memory of a process")
@pytest.mark.parametrize("kind", SOURCES)
def test_memory_does_not_grow_with_the_table(of_two_sizes: str, tmp_path: Path, kind: str) -> None:
    """Peak memory of one process in MiB after 240 thousand keys, twice, and after four times as many more, of 75 bytes each."""
    source = json.dumps({"name": "many", "database": "app", **SOURCES[kind]})
    sources = [source.replace("{rows}", str(rows)) for rows in (ROWS, ROWS, 4 * ROWS)]
    command = [sys.executable, "-c", MEASURED, of_two_sizes, str(tmp_path), *sources]
    told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    connections = 1 if kind == "statement" else 3
    assert [(keys, at_work) for keys, at_work, _ in told] == [(4 * rows, connections) for rows in (ROWS, ROWS, 4 * ROWS)]
    small, large = told[1][2], told[2][2]
    assert large < 300
    assert large - small < 40


def test_times_are_utc(app: Database, take: Take, statement: Source) -> None:
    app.run("SET TimeZone = 'Asia/Tokyo'")
    figures = take(statement("SELECT 'a'")).figures
    assert figures.snapshot_at.tzinfo == UTC
    assert abs((figures.snapshot_at - datetime.now(UTC)).total_seconds()) < 60
