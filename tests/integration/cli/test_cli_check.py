"""`check` on a source whose values are not the keys: what it shows, and what it advises, is what mends it."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_world import KEPT, REFERENCED, MakeWorld, World

from cli.conftest import Say
from orphan_pipeline.demo.servers import PostgresServer
from orphan_pipeline.settings.load import load_settings


@pytest.fixture(scope="module")
def shared(make_world: MakeWorld, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> World:
    world = make_world(tmp_path_factory.mktemp("check"), postgres.create_database("check"), baseline=False)
    urls = ", ".join(f"('https://cdn.example.com/m/{key}?X-Amz-Signature=hunter2')" for key in (*REFERENCED, *KEPT))
    world.run_sql(f"CREATE TABLE users (id serial PRIMARY KEY, avatar text); INSERT INTO users (avatar) VALUES {urls}, (NULL)")
    return world


def source(**key: Any) -> list[dict[str, Any]]:
    return [{"name": "avatars", "database": "app", "table": "users", "column": "avatar", "key": key}]


def test_the_advice_is_taken_and_everything_exists(shared: World, say: Say) -> None:
    shared.change(references=source())
    said = say(shared, "check")
    assert said.status == 1
    assert said.err.splitlines()[-1].startswith(
        "refused: a sweep would fail: source avatars: a URL under no declared base, https://cdn.example.com/…"
    )
    assert "hunter2" not in said.out + said.err
    assert "advice: source avatars: stripping `https://cdn.example.com/m/` and dropping the query would match 100.0%: key: " in said.out
    [found] = say(shared, "check", "--json").json["buckets"]["media"]["sources"]
    assert (found["rows"], found["keys"], found["sampled"], found["match_rate"]) == (11, 10, 10, 0.0)
    assert {one["problem"] for one in found["sample"]} == {"foreign"}

    shared.change(references=source(**found["advice"]["key"]))
    again = say(shared, "check", "--json")
    assert again.status == 0
    [database] = again.json["buckets"]["media"]["databases"]
    line = f"database app: PostgreSQL {database['server_version']}, timeline 1; "
    assert f'{line}to pin it: system_identifier: "{database["system_identifier"]}"' in say(shared, "check").out
    shared.settings["databases"]["app"]["system_identifier"] = database["system_identifier"]
    shared.change()
    assert f"{line}as pinned" in say(shared, "check").out
    shared.settings["databases"]["app"]["system_identifier"] = database["system_identifier"].replace("/", "/9")
    shared.change()
    assert "another server or database?" in say(shared, "check").err
    del shared.settings["databases"]["app"]["system_identifier"]
    shared.change()
    [found] = again.json["buckets"]["media"]["sources"]
    assert (found["match_rate"], found["advice"], found["problem"]) == (1.0, None, None)
    assert {one["key"] for one in found["sample"]} < {*REFERENCED, *KEPT}
    assert all(one["exists"] for one in found["sample"])


def test_a_slash_at_the_beginning_is_seen_where_the_store_overlooks_it(shared: World, say: Say) -> None:
    """SeaweedFS answers for `/files/f 43.txt` when asked for `files/f 43.txt`; the sweep would match nothing by such keys."""
    shared.put(*(f"files/f {i}.txt" for i in range(3)))
    paths = ", ".join(f"('/files/f%20{i}.txt')" for i in range(3))
    shared.run_sql(f"CREATE TABLE pages (path text); INSERT INTO pages VALUES {paths}")
    pages = {"name": "pages", "database": "app", "table": "pages", "column": "path"}
    for key, rate, advised in (
        ({}, 0.0, {"decode": "percent", "leading_slash": "drop"}),
        ({"decode": "percent"}, 0.0, {"decode": "percent", "leading_slash": "drop"}),
        ({"decode": "percent", "leading_slash": "drop"}, 1.0, None),
    ):
        shared.change(references=[{**pages, "key": key}])
        [found] = say(shared, "check", "--json").json["buckets"]["media"]["sources"]
        assert found["match_rate"] == rate
        assert (found["advice"] and found["advice"]["key"]) == advised


def test_grants_alone(shared: World, say: Say, tmp_path: Path) -> None:
    shared.change(references=source())
    said = say(shared, "check", "--grants")
    assert said.status == 0
    assert said.out.splitlines()[0] == "-- database app: run these as its owner, with a password of your own"
    assert said.out.splitlines()[-1] == 'GRANT SELECT ON TABLE "public"."users" TO "orphan_pipeline";'
    assert say(shared, "check", "--grants", "--json").json["app"] == said.out.splitlines()[1:]


def test_a_store_that_may_lose_an_overwrite_is_pointed_out(shared: World, say: Say) -> None:
    shared.change(references=source(strip=["https://cdn.example.com/m/"], drop_query=True), deletion={"mode": "permanent"})
    kept = say(shared, "check", "--json").json
    assert kept["warnings"] == list(load_settings(shared.file).warnings()), "the bucket keeps versions"
    shared.client.put_bucket_versioning(Bucket=shared.bucket, VersioningConfiguration={"Status": "Suspended"})
    said = say(shared, "check")
    assert said.status == 0, said.err
    [line] = [line for line in said.out.splitlines() if "may be lost" in line]
    assert line.startswith(f"note: media: bucket {shared.bucket} keeps no versions (versioning suspended), and the store http://127.0.0.1:")


def test_a_sweep_with_an_export_and_a_glob(make_world: MakeWorld, database_url: str, tmp_path: Path, say: Say) -> None:
    """Three orphans: one is named by a file, one matched by a glob of a row's key, one deletable. No object is newer than the file."""
    world = make_world(tmp_path, database_url)
    pq.write_table(pa.table({"path": ["/files/orphan-0.bin", None]}), tmp_path / "legacy.parquet")
    world.run_sql("CREATE TABLE stems (key text); INSERT INTO stems VALUES ('files/orphan.bin')")
    documents = world.settings["buckets"]["media"]["references"]
    legacy = {"name": "legacy", "file": f"{tmp_path}/*.parquet", "column": "path", "key": {"leading_slash": "drop"}}
    stems = {"name": "stems", "database": "app", "table": "stems", "column": "key", "variants": ["{dir}{stem}-1*{suffix}"]}
    world.change(references=[*documents, legacy, stems], safety={"min_match_rate": 0})
    swept = say(world, "sweep", "--json")
    assert swept.status == 0, swept.err
    checked = say(world, "check", "--json").json["buckets"]["media"]["sources"]  # compared with the inventory of that sweep
    assert [(one["source"], one["database"], one["rows"], one["keys"], one["match_rate"]) for one in checked[1:]] == [
        ("legacy", "file", 2, 1, 1.0),
        ("stems", "app", 1, 1, 0.0),
    ]
    found = swept.json["media"]
    assert (found["holds"], {prefix: plan["objects"] for prefix, plan in found["plans"].items()}) == ({}, {"files/": 1})
    [plan] = world.lake.glob("sweeps/*/orphans/*/plan.parquet")
    assert pq.read_table(plan)["key"].to_pylist() == ["files/orphan-2.bin"]
    assert say(world, "check", "--json").json["buckets"]["media"]["sources"][0]["compared_with"].startswith("the inventory of 20")

    (tmp_path / "legacy.parquet").unlink()
    failed = say(world, "sweep", "--json")
    assert failed.status == 1
    assert failed.json["media"]["failure"] == f"source legacy: no file matches {tmp_path}/*.parquet"
