"""What went wrong in other systems, done again here on real servers: the sweep or a gate stops it, says what is the matter, and nothing is
deleted. The accidents that need a past, or a clock, are in tests/unit/orphans/test_accidents_in_time.py."""

import json

import dagster as dg
import pytest
from small_world import KEPT, ORPHANS, REFERENCED, World

from orphan_pipeline.orphans.manifest import Manifest
from pipeline.conftest import Graph

ALL = {*REFERENCED, *ORPHANS, *KEPT}
SOURCE = {"name": "documents", "database": "app", "table": "documents", "column": "data", "json_paths": ["$.attachments[*]"]}


def write(world: World, table: str, values: list[str]) -> None:
    rows = ", ".join(f"""('{json.dumps({"attachments": [value]})}')""" for value in values)
    world.run_sql(f"DROP TABLE IF EXISTS {table}; CREATE TABLE {table} (id bigserial PRIMARY KEY, data jsonb)")
    world.run_sql(f"INSERT INTO {table} (data) VALUES {rows}")


def stopped(world: World, graph: Graph, prefix: str = "files/") -> dict[str, str]:
    """The gates that tripped, with what they say; deletion must refuse and leave everything where it is."""
    before = world.listed()
    sweep = graph.sweep()
    assert not sweep.success
    checks = {check.check_name: check.description or "" for check in sweep.get_asset_check_evaluations() if not check.passed}
    assert not graph.manifest(sweep).plans or not graph.delete(prefix).success
    assert world.listed() == before
    return checks


def failure(run: dg.ExecuteInProcessResult) -> str:
    [event] = [event for event in run.all_events if event.is_step_failure]
    told = event.step_failure_data.user_failure_data
    assert told is not None
    return told.description or ""


def test_a_slash_too_many_makes_every_file_an_orphan(world: World, graph: Graph) -> None:
    """DuckLake 815: the path of the references ended in a slash, that of the files did not."""
    write(world, "documents", [key.replace("/", "//", 1) for key in (*REFERENCED, *KEPT)])
    said = stopped(world, graph)
    assert {"match_rate", "orphan_fraction"} <= said.keys()
    assert "0.0% of the 10 references of source documents have an object" in said["match_rate"]
    assert "do its keys need stripping or decoding (setting `key`)?" in said["match_rate"]


def test_urls_are_compared_with_paths(world: World, graph: Graph) -> None:
    """Amoro 877: the table knew hdfs://host/path, the listing gave /path."""
    write(world, "documents", [f"s3://{world.bucket}/{key}" for key in (*REFERENCED, *KEPT)])
    sweep = graph.sweep()
    assert f'a URL under no declared base, s3://{world.bucket}/…; if it is the bucket\'s, add "s3://{world.bucket}/"' in failure(sweep)
    assert not graph.lake.sweep(sweep.run_id).published
    world.change(references=[{**SOURCE, "key": {"strip": [f"s3://{world.bucket}/"]}}])
    assert graph.sweep().success


def test_one_kind_of_reference_is_forgotten(world: World, graph: Graph) -> None:
    """Trino 19965: nobody thought of the statistics files."""
    write(world, "documents", list(REFERENCED[:3]))
    write(world, "archive", [*REFERENCED[3:], *KEPT])
    said = stopped(world, graph)
    assert {"orphan_fraction", "prefix_orphan_fraction", "prefix_without_references"} <= said.keys()
    assert "76.9% of the owned objects by count" in said["orphan_fraction"]
    assert "is a source missing?" in said["orphan_fraction"]
    world.change(references=[SOURCE, {**SOURCE, "name": "archive", "table": "archive"}])
    assert stopped(world, graph).keys() == {"references_unchanged"}, "whoever adds it approves it, once"


def test_a_source_is_forgotten_when_the_settings_are_tidied_up(world: World, graph: Graph) -> None:
    """The orphans that it makes are few: only the settings show it."""
    write(world, "documents", [*REFERENCED[1:], *KEPT])
    write(world, "archive", [REFERENCED[0]])
    world.change(references=[SOURCE, {**SOURCE, "name": "archive", "table": "archive"}])
    assert graph.sweep().success
    world.change(references=[SOURCE])
    said = stopped(world, graph)
    assert said.keys() == {"references_unchanged"}
    assert "the reference settings are not those of the last accepted sweep: source archive is gone" in said["references_unchanged"]


def test_our_own_files_lie_under_the_swept_prefix(world: World, graph: Graph) -> None:
    """DuckLake 839: the catalog itself was cleaned up."""
    world.put(".orphan_pipeline/notes.json", ".orphan_pipeline/probe")
    world.change(prefixes=["(all)"])
    assert graph.sweep().success
    assert graph.delete("(all)").success
    assert world.listed() == (ALL - set(ORPHANS)) | {".orphan_pipeline/notes.json", ".orphan_pipeline/probe"}


def test_another_owner_keeps_its_files_under_the_prefix(world: World, graph: Graph) -> None:
    """GitLab MR 81022. As a folder of its own it is a prefix without a reference; the others go on."""
    theirs = {f"files/other-app/{n}.bin" for n in range(4)}
    world.put(*theirs)
    world.change(prefixes=[{"path": "files/", "split": 1}], safety={"max_orphan_fraction": 1.0})
    sweep = graph.sweep()
    assert sweep.success
    [check] = [check for check in sweep.get_asset_check_evaluations() if not check.passed]
    assert check.check_name == "prefix_without_references"
    assert "0 of the 4 objects of files/other-app/ are referenced: does it belong to another application" in (check.description or "")
    assert "gate prefix_without_references is tripped" in failure(graph.delete("files/other-app/"))
    manifest: Manifest = graph.manifest(sweep)
    [own] = [prefix for prefix in manifest.plans if "other-app" not in prefix]
    assert graph.delete(own).success
    assert world.listed() == (ALL - set(ORPHANS)) | theirs


@pytest.mark.parametrize(
    ("statement", "left"), [("TRUNCATE documents", 0), ("DELETE FROM documents WHERE id > 4", 4)], ids=["empty", "half empty"]
)
def test_the_reference_table_is_empty(world: World, graph: Graph, statement: str, left: int) -> None:
    """Altinity s3gc: exit status 0, and everything was an orphan."""
    for _ in range(2):
        assert graph.sweep().success
    world.run_sql(statement)
    said = stopped(world, graph)
    assert f"source documents yields {left} references, the median of 3 sweeps is 10" in said["source_shrink"]
    assert "were rows lost, moved or archived?" in said["source_shrink"]
    assert "orphan_fraction" in said
    assert ("sources_above_floor" in said) == (left == 0)


def test_a_source_yields_fewer_references_than_it_must(world: World, graph: Graph) -> None:
    """Without a past to compare with, the floor is what a half-empty table is seen by."""
    world.change(references=[{**SOURCE, "expect_rows_at_least": 10}])
    assert graph.sweep().success
    world.change(references=[{**SOURCE, "expect_rows_at_least": 11}])
    said = stopped(world, graph)
    assert (
        "source documents has 10 rows, expected at least 11, and yields 10 references: is it the right table" in said["sources_above_floor"]
    )
