"""The code location as Dagster loads it: without settings, without secrets, with a file that cannot be used."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from orphan_pipeline.definitions import definitions as load
from orphan_pipeline.errors import BadSettings

WORKSPACE = Path(__file__).parents[3] / "workspace.yaml"


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, and an environment that names no settings and holds no secret."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in list(os.environ):
        if name.startswith(("ORPHAN_PIPELINE", "GRAPH_TEST", "DAGSTER")):
            monkeypatch.delenv(name)
    return folder


def _definitions() -> dg.Definitions:
    loaded = load()
    assert isinstance(loaded, dg.Definitions)
    return loaded


def test_without_a_settings_file_the_graph_is_empty_and_one_line_says_why(elsewhere: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        loaded = _definitions()
    assert list(loaded.resolve_all_asset_specs()) == []
    [record] = caplog.records
    assert "\n" not in record.getMessage()
    assert "No settings file: the graph is empty." in record.getMessage()
    assert list(elsewhere.iterdir()) == []


def test_it_loads_without_the_secrets(elsewhere: Path, settings_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORPHAN_PIPELINE_SETTINGS", str(settings_file))
    assert len(list(_definitions().resolve_all_asset_specs())) == 15
    assert list(elsewhere.iterdir()) == []
    assert not (settings_file.parent / "lake").exists()


def test_it_finds_the_file_in_the_current_folder(elsewhere: Path, settings_file: Path) -> None:
    (elsewhere / "orphan_pipeline.yaml").write_text(settings_file.read_text())
    assert _definitions().resolve_asset_graph().get_all_asset_keys()


def test_a_file_that_cannot_be_used_is_one_line_a_mistake(elsewhere: Path, settings_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings_file.write_text(settings_file.read_text().replace("prefixes: [(all)]", "prefixes: [uploads]"))
    monkeypatch.setenv("ORPHAN_PIPELINE_SETTINGS", str(settings_file))
    with pytest.raises(BadSettings) as wrong:
        load()
    [line] = wrong.value.lines
    assert line.startswith(f"{settings_file}:")
    assert "buckets.my-invoices.prefixes[0]: found 'uploads'" in line


@pytest.mark.parametrize("with_settings", [False, True])
def test_dagster_validates_the_workspace(elsewhere: Path, settings_file: Path, tmp_path: Path, with_settings: bool) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    environment = {**os.environ, "DAGSTER_HOME": str(home)} | ({"ORPHAN_PIPELINE_SETTINGS": str(settings_file)} if with_settings else {})
    done = subprocess.run(
        [sys.executable, "-m", "dagster", "definitions", "validate", "-w", str(WORKSPACE)],
        env=environment,
        cwd=elsewhere,
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "Traceback" not in said
    assert ("No settings file: the graph is empty." in said) is not with_settings
