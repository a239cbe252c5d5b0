"""`why`: what the lake knows of one key, through the command, over sweeps, ledgers and restores written by hand."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sweep_files import DAY, NOON, bucket_settings, publish

from orphan_pipeline.cli.main import main
from orphan_pipeline.deletion.ledger import Answer, Ledger, LedgerPlan, Planned
from orphan_pipeline.deletion.quarantine.place import Quarantine, remember
from orphan_pipeline.deletion.undo.notes import NOTE, RestoreNote
from orphan_pipeline.lake.files import sha256_of, write_document
from orphan_pipeline.lake.layout import BucketLake, Lake
from orphan_pipeline.lake.retention import remove_sweeps
from orphan_pipeline.orphans import forms

SETTINGS = """
lake: ./lake
databases: {app: {url: {env: APP_DATABASE_URL}}}
buckets:
  media:
    bucket: acme-media
    prefixes: [a/, b/]
    protect: ["**/.keep"]
    references: [{name: documents, database: app, sql: SELECT key FROM documents}]
    safety: {confirmations: 1, max_orphan_fraction: 0.5}
"""
ORPHANS = ("a/orphan", "a/.keep", "a/Kept", "c/foreign")
REFERENCED = ("a/kept", *(f"b/{n}" for n in range(40)))


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BucketLake]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ORPHAN_PIPELINE_SETTINGS", raising=False)
    (tmp_path / "orphan_pipeline.yaml").write_text(SETTINGS)
    lake = Lake(tmp_path / "lake").bucket("media")
    settings = bucket_settings(protect=["**/.keep"])
    for number, sweep_id in enumerate(("first", "second")):
        at = NOON + number * DAY
        publish(lake, sweep_id, orphans=ORPHANS, referenced=REFERENCED, gone=["a/gone"], started_at=at, settings=settings)
    yield lake
    monkeypatch.delenv("ORPHAN_PIPELINE_SETTINGS", raising=False)


def run(*arguments: str) -> Result:
    return CliRunner(catch_exceptions=False).invoke(main, ["why", *arguments])


def told(key: str, *arguments: str) -> dict[str, Any]:
    result = run(key, "--json", *arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.mark.parametrize(
    ("key", "verdict", "hold"),
    [
        ("a/orphan", "an orphan, deletable: chunk 0 of plan ", None),
        ("a/kept", "referenced by documents: never deleted", None),
        ("a/.keep", "an orphan, held as protected: it is protected by **/.keep", "protected"),
        ("a/Kept", "an orphan, held as ambiguous: it resembles the reference 'a/kept' (case): ", "ambiguous"),
        ("c/foreign", "an orphan, held: no declared prefix owns it, so it is never deleted", None),
        ("a/gone", "not in the bucket at this sweep", None),
        ("a/never", "not in the bucket at this sweep", None),
    ],
)
@pytest.mark.usefixtures("lake")
def test_the_verdict_comes_first(key: str, verdict: str, hold: str | None) -> None:
    found = told(key)
    assert found["verdict"].startswith(verdict)
    assert (found["orphan"] or {}).get("hold") == hold
    shown = run(key)
    assert shown.exit_code == 0
    assert shown.stdout.splitlines()[1] == found["verdict"]


@pytest.mark.usefixtures("lake")
def test_evidence_of_an_orphan_over_the_sweeps() -> None:
    found = told("a/orphan")
    assert (found["orphan"]["first_seen"], found["orphan"]["sightings"]) == (str(NOON), 2)
    assert [(one["sweep_id"], one["verdict"]) for one in found["history"]] == [("first", "deletable"), ("second", "deletable")]
    assert (found["sweep_id"], told("a/orphan", "--sweep", "fir")["sweep_id"]) == ("second", "first")
    assert found["object"]["prefix"] == "a/"


@pytest.mark.usefixtures("lake")
def test_references_of_the_key_and_those_that_only_resemble_it() -> None:
    assert [(r["key"], r["source"], r["view"]) for r in told("a/kept")["references"]["exact"]] == [("a/kept", "documents", "")]
    other = told("acme-media/A/k%65pt?v=1")["references"]
    assert [(r["key"], r["view"]) for r in other["resembling"]] == [("a/kept", "percent+case+host+query")]
    gone = told("a/gone")
    assert (gone["object"], [r["key"] for r in gone["references"]["exact"]]) == (None, ["a/gone"])


@pytest.mark.parametrize(
    ("key", "kept_by"),
    [
        ("a/kept@2x", {"source": "documents", "template": "{dir}{stem}@*", "parent": "a/kept"}),
        ("a/kept/w/h", {"source": "documents", "template": "{key}/**", "parent": "a/kept"}),
        ("c/b/1/w", None),
        ("a/orphan", None),
        ("a/Kept", None),
    ],
)
def test_what_only_a_glob_of_the_variants_keeps_is_told_with_source_template_and_reference(
    lake: BucketLake, key: str, kept_by: dict[str, str] | None
) -> None:
    orphans = (*ORPHANS, "a/kept@2x", "a/kept/w/h", "c/b/1/w")
    at = NOON + 2 * DAY
    publish(lake, "third", orphans=orphans, referenced=REFERENCED, started_at=at, globs=["{dir}{stem}@*", "{key}/**"])
    found = told(key)
    assert found["kept_by"] == kept_by
    if kept_by is not None:
        template, parent = kept_by["template"], kept_by["parent"]
        assert found["verdict"] == f"kept by {template!r} among the variants of documents, for its reference {parent!r}: never deleted"
        assert f"variant: {template!r} of documents, filled with {parent!r}, matches it" in run(key).stdout
    else:
        assert "kept by" not in found["verdict"]


def test_forms_of_another_release_are_never_compared(lake: BucketLake, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = lake.sweep("second")
    assert forms.forms_of(sweep, ["acme-media"]) is not None
    assert forms.forms_of(sweep, []) is None
    monkeypatch.setattr(forms, "FORM_ID", "another")
    assert forms.forms_of(sweep, ["acme-media"]) is None
    assert [r["view"] for r in told("a/Kept")["references"]["resembling"]] == ["case"]
    assert [r["key"] for r in told("a/kept")["references"]["exact"]] == ["a/kept"]


def write_ledger(lake: BucketLake, digest: str, keys: list[str], *, dry_run: bool = False) -> Ledger:
    """Chunks of three keys."""
    ledger = Ledger(lake.ledger(digest, dry_run=dry_run))
    ledger.begin(LedgerPlan(bucket="media", prefix="a/", sweep_id="second", digest=digest, dry_run=dry_run))
    for chunk in range(0, len(keys), 3):
        planned = [Planned(key, "e", 10, NOON) for key in keys[chunk : chunk + 3]]
        answers = [Answer("would_delete") if dry_run else Answer("deleted", version_id=f"v-{one.key}") for one in planned]
        ledger.record(chunk // 3, planned, answers, at=NOON + 2 * DAY)
    return ledger


def test_what_was_done_with_the_key_is_found_in_its_one_chunk(lake: BucketLake) -> None:
    keys = sorted(["a/orphan", *(f"a/{n:02}" for n in range(10)), *(f"a/z{n}" for n in range(10))])
    ledger = write_ledger(lake, "d" * 64, keys)
    write_ledger(lake, "e" * 64, keys, dry_run=True)
    restored = Ledger(lake.restore("r1"))
    write_document(lake.restore("r1") / NOTE, RestoreNote, RestoreNote(at=NOON + 3 * DAY, plan="", prefix="", key="a/orphan"))
    restored.record(0, [Planned("a/orphan", "e", 10, NOON)], [Answer("deleted", version_id="v-a/orphan")], at=NOON + 3 * DAY)

    for key in keys:
        done = [one for one in told(key)["done"] if one["what"] == "ledger"]
        assert [(one["of"], one["outcome"], one["version_id"]) for one in done] == [("d" * 64, "deleted", f"v-{key}")]
    assert told("a/05a")["done"] == []
    assert [one["what"] for one in told("a/orphan")["done"]] == ["ledger", "dry_run", "restore"]
    assert told("a/orphan")["verdict"].endswith("; deleted on 2026-11-24 12:00 UTC")

    evidence = json.loads(run("a/orphan", "--evidence").stdout)
    chunk = next(file for file in map(Path, ledger.parquet()) if file.name == Path(evidence["rows"][0]["file"]).name)
    assert (evidence["bucket"], evidence["key"]) == ("acme-media", "a/orphan")
    assert [(row["what"], row["outcome"]) for row in evidence["rows"]] == [("ledger", "deleted"), ("restore", "deleted")]
    assert evidence["rows"][0]["sha256"] == sha256_of(chunk)
    assert chunk == lake.root / evidence["rows"][0]["file"]


def test_evidence_needs_no_sweep(lake: BucketLake) -> None:
    for sweep in list(lake.published_sweeps()):
        sweep.manifest.unlink()
    write_ledger(lake, "d" * 64, ["a/orphan"])
    assert [row["at"] for row in json.loads(run("a/orphan", "--evidence").stdout)["rows"]] == [(NOON + 2 * DAY).isoformat()]
    result = run("a/orphan")
    assert (result.exit_code, result.stderr) == (1, "refused: media: there is no finished sweep yet (orphan-pipeline sweep)\n")


@pytest.mark.usefixtures("lake")
def test_a_sweep_that_is_not_there_is_refused() -> None:
    result = run("a/orphan", "--sweep", "x")
    expected = "refused: --sweep 'x': 0 finished sweeps of media have an id that begins so, expected one\n"
    assert (result.exit_code, result.stderr) == (1, expected)


def test_a_key_that_was_deleted_is_told_by_the_sweep_that_planned_it(lake: BucketLake) -> None:
    """The bucket does not hold it any more, so that the latest sweep knows no prefix of it."""
    publish(lake, "third", orphans=("a/other",), referenced=REFERENCED, started_at=NOON + 2 * DAY)
    write_ledger(lake, "d" * 64, ["a/orphan"])
    found = told("a/orphan")
    assert found["verdict"] == "not in the bucket at this sweep; deleted on 2026-11-23 12:00 UTC"
    assert [(one["sweep_id"], one["verdict"]) for one in found["history"]] == [
        ("first", "deletable"),
        ("second", "deletable"),
        ("third", "no orphan"),
    ]


def test_a_key_of_a_split_prefix_is_found_in_earlier_sweeps(lake: BucketLake) -> None:
    split = bucket_settings(prefixes=[{"path": "a/", "split": 1}, "b/"], protect=["**/.keep"])
    keys = ("a/2026/orphan", "a/orphan")
    publish(lake, "third", orphans=keys, referenced=REFERENCED, started_at=NOON + 2 * DAY, settings=split)
    publish(lake, "fourth", referenced=REFERENCED, started_at=NOON + 3 * DAY)
    assert [one["verdict"] for one in told("a/2026/orphan")["history"]] == ["no orphan", "no orphan", "deletable", "no orphan"]
    assert [one["verdict"] for one in told("a/orphan")["history"]] == ["deletable", "deletable", "deletable", "no orphan"]


def test_a_sweep_of_which_only_the_manifest_is_kept(lake: BucketLake) -> None:
    remove_sweeps(lake, [], [lake.sweep("first")])
    assert [one["verdict"] for one in told("a/orphan")["history"]] == ["not known any more: only its manifest is kept", "deletable"]
    result = run("a/orphan", "--sweep", "first")
    assert result.exit_code == 1
    assert result.stderr.startswith("refused: sweep first: only its manifest is kept (retention.sweeps), expected a sweep with its data")
    assert len(result.stderr.splitlines()) == 1


def test_what_lies_in_a_quarantine_is_protected_even_when_only_the_lake_remembers_it(lake: BucketLake) -> None:
    assert told("a/orphan")["protected_by"] is None
    remember(lake, Quarantine.of("s3://acme-media/a/"), at=NOON)
    assert told("a/orphan")["protected_by"] == "a/"
