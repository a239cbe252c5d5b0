"""The commands one after the other, as an operator types them: check, sweep, plan, delete, restore. One world, in order."""

from pathlib import Path

import pytest
from small_world import MakeWorld, World

from cli.conftest import Say
from orphan_pipeline.demo.servers import PostgresServer

REFERENCED = {f"files/in-use-{i}.bin" for i in range(8)}
ORPHANS = {f"files/orphan-{i}.bin" for i in range(3)}
KEPT = {"kept/a.bin", "kept/b.bin"}
FLAG = "safety.allow_short_min_age is true: min_age is 0s, the floor of 24h is off"
ALL = REFERENCED | ORPHANS | KEPT


@pytest.fixture(scope="module")
def shared(make_world: MakeWorld, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("story"), postgres.create_database("story"), baseline=False)


def _one_line(text: str) -> str:
    lines = text.splitlines()
    assert len(lines) == 1, text
    return lines[0]


def test_before_the_first_sweep_everything_says_so(shared: World, say: Say) -> None:
    said = say(shared, "approve", "0123456789", "--yes")
    assert (said.status, said.out) == (1, "")
    assert _one_line(said.err).startswith("refused: approve: found '0123456789', expected at least 8 characters of the digest of one sweep")
    for arguments in (("plan",), ("delete", "--all", "--yes")):
        said = say(shared, *arguments)
        assert (said.status, said.out) == (1, "")
        assert "there is no finished sweep yet (orphan-pipeline sweep)" in _one_line(said.err)
    said = say(shared, "restore", "--prefix", "files/", "--yes")
    assert (said.status, _one_line(said.err)) == (1, "refused: restore: no ledger says that anything of prefix 'files/' was deleted")
    assert not (shared.folder / "dagster").exists()


def test_check_says_what_there_is_and_what_can_be_deleted_and_leaves_nothing_behind(shared: World, say: Say) -> None:
    before = sorted(shared.folder.rglob("*"))
    said = say(shared, "check")
    assert said.status == 0, said.err
    assert "enabled" in said.out
    assert "for ever" in said.out
    assert said.out.splitlines()[-1] == (
        "Deletion is OFF: media.deletion.mode is versioned; there is no finished sweep yet, so none was accepted as the baseline "
        "(orphan-pipeline sweep); schedule is stopped; sensor is stopped."
    )
    assert "note: buckets.media.safety.allow_short_min_age is true" in said.out
    found = say(shared, "check", "--json").json
    assert found["buckets"]["media"]["conditional_deletes"] == "DeleteObjects: ETag honoured; DeleteObject: ETag honoured"
    [source] = found["buckets"]["media"]["sources"]
    assert {name: source[name] for name in ("source", "database", "rows", "keys", "sampled", "match_rate", "compared_with", "advice")} == {
        "source": "documents",
        "database": "app",
        "rows": 10,
        "keys": 10,
        "sampled": 10,
        "match_rate": 1.0,
        "compared_with": "the bucket",
        "advice": None,
    }
    assert [one["exists"] for one in source["sample"]] == [True] * 5
    assert found["deletion"] == [said.out.splitlines()[-1]]
    assert sorted(shared.folder.rglob("*")) == before


def test_check_says_that_deletion_is_off(shared: World, say: Say) -> None:
    shared.change(deletion={"mode": "dry_run"})
    said = say(shared, "check")
    shared.change(deletion={"mode": "versioned"})
    assert said.out.splitlines()[-1] == "Deletion is OFF: media.deletion.mode is dry_run; schedule is stopped; sensor is stopped."


def test_the_first_sweep_fails_until_it_is_approved_as_the_baseline(shared: World, say: Say) -> None:
    shared.change(safety={"confirmations": 2, "confirmation_gap": "1s"})
    first = say(shared, "sweep")
    assert first.status == 1
    assert "gate baseline: TRIPPED: no sweep of this bucket was accepted yet" in first.out
    assert f"\nnote: {FLAG}\n" in first.out
    digest = say(shared, "plan", "--json").json["media"]["digest"][:16]
    closing = first.out.splitlines()[-1]
    assert closing.startswith(
        f"this sweep counts for nothing until it is approved (gate baseline): orphan-pipeline approve {digest}; "
        "earliest deletable: by a sweep after 20"
    )
    assert "because an orphan must be seen in as many sweeps" in closing
    assert first.err.splitlines()[-1] == (
        f"sweep of media failed: gate baseline is tripped; if all is right: orphan-pipeline approve {digest}"
    )
    nobody = say(shared, "approve", digest)
    assert nobody.status == 1
    assert nobody.err.splitlines()[-1] == "refused: nobody to ask: this is no terminal, expected --yes"
    assert not (shared.lake / "approvals").exists(), "not recorded when nobody said yes"
    approved = say(shared, "approve", digest, "--yes", "--json", **dict.fromkeys(shared.secrets))
    assert approved.status == 0, approved.err
    assert approved.json["gates"] == ["baseline"]
    again = say(shared, "approve", digest, "--yes")
    assert again.status == 0
    assert say(shared, "plan").out.splitlines()[-1].startswith("earliest deletable: by a sweep after 20")


def test_the_second_sweep_confirms_and_plans(shared: World, say: Say) -> None:
    second = say(shared, "sweep", "--json").json["media"]
    assert second["failure"] is None
    assert second["holds"] == {}
    assert {prefix: plan["objects"] for prefix, plan in second["plans"].items()} == {"files/": 3}
    assert second["outcome"].startswith("deletable now: 3 objects, ")


def test_plan_shows_the_latest_sweep_without_secrets(shared: World, say: Say) -> None:
    without = dict.fromkeys(shared.secrets)
    said = say(shared, "plan", **without)
    assert said.status == 0
    assert "gate orphan_fraction: passed" in said.out
    assert f"\nnote: {FLAG}\n" in said.out
    assert said.out.splitlines()[-1].startswith("deletable now: 3 objects")
    found = say(shared, "plan", "--json", **without).json["media"]
    assert (found["deletable"], found["flags"]) == (3, [FLAG])


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--all",), "refused: nobody to ask: this is no terminal, expected --yes"),
        (("--plan", "0123456789abcdef", "--yes"), "refused: plan '0123456789abcdef': 0 plans have this digest, expected one"),
        (("--all", "--yes", "--approve", "0123456789"), "refused: --approve: found '0123456789', expected the digest of this sweep"),
    ],
)
def test_delete_refuses_in_one_line_and_deletes_nothing(shared: World, say: Say, arguments: tuple[str, ...], line: str) -> None:
    said = say(shared, "delete", *arguments)
    assert said.status == 1
    assert said.err.splitlines()[-1].startswith(line)
    assert len(said.err.splitlines()) == 1
    assert shared.listed() == ALL


def test_a_prefix_that_there_is_not_is_bad_usage(shared: World, say: Say) -> None:
    said = say(shared, "delete", "--prefix", "elsewhere/", "--yes")
    assert (said.status, _one_line(said.err)) == (2, "--prefix: found 'elsewhere/', expected one of files/, kept/")


def test_a_sweep_that_passed_its_gates_needs_no_approval(shared: World, say: Say) -> None:
    before = sorted((shared.lake / "approvals").iterdir())
    found = say(shared, "plan", "--json").json["media"]
    for arguments in (("approve", found["digest"], "--yes"), ("delete", "--all", "--yes", "--approve", found["digest"])):
        said = say(shared, *arguments)
        assert said.status == 1
        assert _one_line(said.err) == f"refused: approve: there is nothing to approve: no gate holds back sweep {found['sweep']}"
    assert sorted((shared.lake / "approvals").iterdir()) == before
    assert shared.listed() == ALL


@pytest.mark.parametrize("arguments", [(), ("--all", "--prefix", "files/"), ("--prefix", "files/", "--plan", "0123456789")])
def test_delete_takes_exactly_one_of_plan_prefix_and_all(shared: World, say: Say, arguments: tuple[str, ...]) -> None:
    said = say(shared, "delete", "--yes", *arguments)
    assert said.status == 2
    assert said.err.splitlines()[-1] == "Error: expected exactly one of --plan, --prefix and --all"


def test_a_prefix_without_a_plan_is_nothing_to_delete(shared: World, say: Say) -> None:
    said = say(shared, "delete", "--prefix", "kept/", "--json", "--yes")
    assert said.status == 0
    assert said.json["prefixes"] == {}
    assert "nothing to delete: there is no plan" in said.err


def test_delete_and_restore(shared: World, say: Say) -> None:
    digest = say(shared, "plan", "--json").json["media"]["plans"]["files/"]["digest"]
    deleted = say(shared, "delete", "--plan", digest[:12], "--yes", "--json")
    assert deleted.status == 0, deleted.err
    assert deleted.json["prefixes"] == {"files/": {"deleted": 3}}
    assert deleted.json["ended"] == {"files/": "completed: every chunk of the plan has an outcome"}
    assert "files/: completed: every chunk of the plan has an outcome" in deleted.err
    assert shared.listed() == ALL - ORPHANS

    told = say(shared, "plan")
    assert f"note: plan {digest[:16]} of files/ was carried out at 20" in told.out
    assert told.out.splitlines()[-1] == "nothing is deletable before a new sweep; carried out: 3 objects, 54 bytes, in 1 prefix"
    found = say(shared, "plan", "--json").json["media"]
    assert (found["outcome"], found["plans"]["files/"]["became"]) == (told.out.splitlines()[-1], "carried out")

    nobody = say(shared, "restore", "--prefix", "files/")
    assert (nobody.status, _one_line(nobody.err)) == (1, "refused: nobody to ask: this is no terminal, expected --yes")
    one = say(shared, "restore", "--key", "files/orphan-1.bin", "--yes", "--json")
    assert (one.json["outcomes"], one.json["sample"]) == ({"restored": 1}, None)
    assert shared.listed() == ALL - ORPHANS | {"files/orphan-1.bin"}
    rest = say(shared, "restore", "--prefix", "files/", "--sample", "2", "--yes", "--json")
    assert rest.status == 0
    assert shared.listed() == ALL
    assert "sample: 2 contents read, 2 equal their ETag" in rest.err.splitlines()
    assert rest.json["sample"] == {"read": 2, "same": 2, "unknown": 0}

    again = say(shared, "delete", "--prefix", "files/", "--yes")
    assert again.status == 1
    assert f"note: plan {digest[:12]} of files/ was restored at 20" in again.out
    assert "mode: versioned, undo window 1d\n" in again.out
    assert "what the store answered" not in again.err, "that was an earlier run of this plan"
    assert say(shared, "delete", "--prefix", "files/", "--yes", "--json").json["prefixes"] == {}
    told = say(shared, "plan")
    assert f"note: plan {digest[:12]} of files/ was restored at 20" in told.out
    assert told.out.splitlines()[-1] == "nothing is deletable before a new sweep; restored: 3 objects, 54 bytes, in 1 prefix"


def test_a_tripped_gate_fails_the_sweep_and_delete_until_approved(shared: World, say: Say) -> None:
    shared.put(*(f"files/new-{i}.bin" for i in range(9)))
    shared.change(safety={"confirmations": 1})
    swept = say(shared, "sweep", "--json")
    assert swept.status == 1
    assert swept.json["media"]["failure"] is not None
    assert "orphan_fraction" in swept.err
    refused = say(shared, "delete", "--all", "--yes", "--json")
    assert refused.status == 1
    assert "gate orphan_fraction is tripped" in refused.json["failures"]["files/"]
    assert len(shared.listed()) == len(ALL) + 9
    approved = say(shared, "delete", "--all", "--yes", "--json", "--approve", swept.json["media"]["digest"][:16])
    assert approved.status == 0, approved.err
    assert approved.json["prefixes"] == {"files/": {"deleted": 9}}
    assert shared.listed() == ALL


def test_no_run_writes_to_the_terminal_but_to_the_log(shared: World) -> None:
    assert (Path(shared.folder) / "dagster" / "runs.log").stat().st_size > 0
