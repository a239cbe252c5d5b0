"""The references of whole sweeps: what the manifest says of their cut, and rows that move against the order of the snapshots."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg
import pyarrow.parquet as pq
import pytest
from small_world import World

from orphan_pipeline.demo.servers import PostgresServer
from orphan_pipeline.references import cut
from orphan_pipeline.references.recheck import asking
from pipeline.conftest import Graph

NOW = """
SELECT clock_timestamp(), pg_current_wal_lsn()::text, pg_snapshot_xmax(pg_current_snapshot())::text::bigint,
       (SELECT system_identifier::text FROM pg_control_system()), current_setting('server_version')
"""
MOVING = "files/orphan-0.bin"
DOCUMENT = f"""INSERT INTO documents (data) VALUES ('{{"attachments": ["{MOVING}"]}}')"""


@pytest.fixture
def archive(world: World, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[psycopg.Connection]:
    """A second database, whose snapshot comes second: one row of what is kept, and one of `MOVING`."""
    name = f"archive_of_{world.bucket.replace('-', '_')}"
    url = postgres.create_database(name)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE documents (data jsonb)")
        connection.execute("""INSERT INTO documents VALUES ('{"attachments": ["kept/a.bin"]}')""")
        connection.execute(DOCUMENT.encode())
        monkeypatch.setenv("WORLD_ARCHIVE_URL", url)
        world.settings["databases"]["archive"] = {"url": {"env": "WORLD_ARCHIVE_URL"}}
        [documents] = world.settings["buckets"]["media"]["references"]
        world.change(references=[documents, {**documents, "name": "archive", "database": "archive"}])
        yield connection
    postgres.drop_database(name)


def test_the_manifest_says_where_and_when_each_database_was_frozen(world: World, graph: Graph) -> None:
    with psycopg.connect(world.database_url, autocommit=True) as session:
        began, before = datetime.now(UTC), session.execute(NOW).fetchone()
        run = graph.sweep()
        ended, after = datetime.now(UTC), session.execute(NOW).fetchone()
        assert run.success
        assert before is not None
        assert after is not None
        manifest = json.loads(graph.lake.sweep(run.run_id).manifest.read_text())
        references, inventory = manifest["references"], manifest["inventory"]
        [frozen] = references["cuts"]
        in_order = session.execute("SELECT %s::pg_lsn <= %s::pg_lsn, %s::pg_lsn <= %s", (before[1], frozen["lsn"], frozen["lsn"], after[1]))
        assert in_order.fetchone() == (True, True)
        xmax = session.execute("SELECT pg_snapshot_xmax(%s::pg_snapshot)::text::bigint", (frozen["snapshot"],)).fetchone()
        assert xmax is not None
        assert before[2] <= xmax[0] <= after[2]
    assert (frozen["database"], frozen["system_identifier"], frozen["server_version"]) == ("app", before[3], before[4])
    assert frozen["from_replica"] is False
    assert before[0] <= at(frozen["snapshot_at"]) <= after[0]
    assert at(references["snapshot_at"]) == at(frozen["snapshot_at"])
    assert at(references["inventory_started_at"]) == at(inventory["started_at"])
    assert began <= at(frozen["host_snapshot_at"]) <= at(references["ended_at"]) <= ended


def at(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    assert moment.tzinfo is not None
    return moment


def test_a_row_that_moves_against_the_order_is_missed_by_a_sweep_and_found_before_the_deletion(
    world: World, graph: Graph, archive: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the second database to the first: between the snapshots of the sweep, and again between the looks before the deletion."""

    def move() -> None:
        world.run_sql(DOCUMENT)
        archive.execute("DELETE FROM documents WHERE data::text LIKE '%orphan-0%'")

    def move_back() -> None:
        archive.execute(DOCUMENT.encode())
        world.run_sql("DELETE FROM documents WHERE data::text LIKE '%orphan-0%'")

    frozen: list[str] = []
    real_freeze = cut._freeze

    def freeze(name: str, *how: Any) -> cut.Cut:
        frozen.append(name)
        if frozen == ["app", "archive"]:
            move()
        return real_freeze(name, *how)

    with monkeypatch.context() as patched:
        patched.setattr(cut, "_freeze", freeze)
        run = graph.sweep()
    assert run.success
    assert frozen == ["app", "archive"]
    plan = graph.manifest(run).plans["files/"]
    planned = pq.read_table(graph.lake.sweep(run.run_id).root / plan.file, columns=["key"])["key"].to_pylist()
    assert MOVING in planned, "no reference of it is in the sweep"

    move_back()
    looked: list[str] = []

    @contextmanager
    def look(databases: Any, sources: Any, *, limits: Any = None) -> Iterator[Any]:
        if len(databases) == 1:  # both together are opened to find the ways
            looked.extend(databases)
            if looked == ["app", "archive"]:
                move()
        with cut.open_cut(databases, sources, limits=limits) as cuts:
            yield cuts

    monkeypatch.setattr(asking, "open_cut", look)
    assert graph.delete("files/").success
    assert looked[:3] == ["app", "archive", "app"]
    assert MOVING in world.listed()
    assert not {key for key in planned if key != MOVING} & world.listed(), "the others are gone"
    versions = world.client.list_object_versions(Bucket=world.bucket)
    assert {marker["Key"] for marker in versions["DeleteMarkers"]} == set(planned) - {MOVING}, "it was not deleted and brought back"
