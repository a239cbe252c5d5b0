"""The lake's layout: stages that are whole or absent, sweeps that stay as they are, folder names that do not collide."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orphan_pipeline.errors import Refused
from orphan_pipeline.lake.files import folder_written_whole, write_document
from orphan_pipeline.lake.layout import FIGURES, STAGES, BucketLake, Lake, Stage, SweepFolder, prefix_folder


@dataclass(frozen=True, slots=True)
class Figures:
    rows: int


def fill(sweep: SweepFolder, stage: Stage, name: str = "part.parquet") -> None:
    with sweep.writing(stage) as folder:
        (folder / name).touch()
        write_document(folder / FIGURES, Figures, Figures(1))


def stages(sweep: SweepFolder) -> set[str]:
    return {path.name for path in sweep.root.iterdir()}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_fails_leaves_neither_itself_nor_a_later_one(tmp_path: Path, stage: Stage) -> None:
    sweep = BucketLake(tmp_path).sweep("s")
    for each in STAGES:
        fill(sweep, each)

    def fail() -> None:
        with sweep.writing(stage) as folder:
            (folder / "half.parquet").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert stages(sweep) == set(STAGES[: STAGES.index(stage)])
    with pytest.raises(Refused):
        sweep.figures(stage, Figures)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_written_again_replaces_itself_and_takes_the_later_ones_away_at_once(tmp_path: Path, stage: Stage) -> None:
    """References of a former attempt would be older than the new inventory."""
    sweep = BucketLake(tmp_path).sweep("s")
    for each in STAGES:
        fill(sweep, each, "old.parquet")
    with sweep.writing(stage) as folder:
        assert stages(sweep) == {*STAGES[: STAGES.index(stage)], folder.name}
        (folder / "new.parquet").touch()
    assert stages(sweep) == set(STAGES[: STAGES.index(stage) + 1])
    assert sweep.parquet(stage) == [str(sweep.stage(stage) / "new.parquet")]


def test_a_published_sweep_stays_as_it_is(tmp_path: Path) -> None:
    sweep = BucketLake(tmp_path).sweep("s")
    for stage in STAGES:
        fill(sweep, stage)
    sweep.manifest.touch()
    for stage in STAGES:
        with pytest.raises(Refused) as refused, sweep.writing(stage):
            pytest.fail("a folder was given out")
        assert str(refused.value) == "sweep s is finished and stays as it is: launch a new run of the sweep job"
    assert all(sweep.parquet(stage) for stage in STAGES)


def test_figures_of_a_stage_that_this_sweep_did_not_do_are_refused(tmp_path: Path) -> None:
    lake = BucketLake(tmp_path)
    fill(lake.sweep("other"), "references")
    fill(lake.sweep("s"), "inventory")
    assert lake.sweep("s").figures("inventory", Figures) == Figures(1)
    with pytest.raises(Refused) as refused:
        lake.sweep("s").figures("references", Figures)
    assert str(refused.value) == (
        "sweep s has no references snapshot: run the whole sweep job; snapshots of different sweeps are never joined"
    )


def test_only_sweeps_with_a_manifest_exist(tmp_path: Path) -> None:
    lake = Lake(tmp_path).bucket("media")
    assert list(lake.published_sweeps()) == []
    for sweep_id in ("begun", "finished"):
        fill(lake.sweep(sweep_id), "inventory")
    lake.sweep("finished").manifest.touch()
    assert [sweep.sweep_id for sweep in lake.published_sweeps()] == ["finished"]
    assert lake.sweep("finished").published
    assert not lake.sweep("begun").published


def test_dry_runs_have_a_ledger_of_their_own(tmp_path: Path) -> None:
    lake = BucketLake(tmp_path)
    lake.ledger("d1", dry_run=True).mkdir(parents=True)
    lake.ledger("d2", dry_run=False).mkdir(parents=True)
    assert lake.ledgers() == [tmp_path / "ledger" / "d2"]


def test_a_release_that_is_being_written_is_none_yet(tmp_path: Path) -> None:
    """Regression: a release that was under way, or was killed, ended the sweep that read its unfinished file."""
    lake = BucketLake(tmp_path / "media")
    with folder_written_whole(lake.release("r1")) as unfinished:
        (unfinished / "released.parquet").touch()
        assert lake.released_parquet() == []
    assert lake.released_parquet() == [str(lake.release("r1") / "released.parquet")]


def test_what_was_restored_is_found_in_every_restore(tmp_path: Path) -> None:
    lake = BucketLake(tmp_path)
    assert lake.restored_parquet() == []
    for restore in ("r1", "r2"):
        lake.restore(restore).mkdir(parents=True)
        (lake.restore(restore) / "00000000.parquet").touch()
    assert lake.restored_parquet() == [str(lake.restore(name) / "00000000.parquet") for name in ("r1", "r2")]


texts = st.text(st.sampled_from("abA/%.é😀 \n'2F()-_~") | st.characters(exclude_categories=["Cs"]), max_size=160)


@given(prefixes=st.sets(texts.map(lambda text: f"{text}/"), min_size=1, max_size=20))
def test_folder_names_are_one_short_path_part_and_no_two_prefixes_share_one(prefixes: set[str]) -> None:
    names = [prefix_folder(prefix) for prefix in prefixes]
    assert len(set(names)) == len(prefixes)
    assert all(name.isascii() and len(name) < 200 and "/" not in name and "\0" not in name for name in names)
    assert not {"", ".", "..", "spill"} & set(names)


@given(prefix=texts, other=texts)
def test_no_prefix_can_be_made_to_look_like_the_shortened_name_of_another(prefix: str, other: str) -> None:
    shortened = prefix_folder("x" * 121 + prefix)
    assert shortened.startswith("x" * 120 + "-")
    assert prefix_folder(shortened) != shortened
    assert (prefix_folder("x" * 121 + other) == shortened) == (other == prefix)


@pytest.mark.parametrize(
    ("prefix", "name"), [("uploads/2026/11/", "uploads%2F2026%2F11%2F"), ("(all)", "(all)"), ("a/(rest)", "a%2F(rest)")]
)
def test_folder_names_can_be_read(prefix: str, name: str) -> None:
    assert prefix_folder(prefix) == name
