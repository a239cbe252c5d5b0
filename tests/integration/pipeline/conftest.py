"""The graph of a small world, its jobs executed in this process against an instance of its own."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from small_world import World, make_world, world

from orphan_pipeline.definitions import build_definitions
from orphan_pipeline.lake.files import read_document
from orphan_pipeline.lake.layout import BucketLake, Lake
from orphan_pipeline.orphans.manifest import Manifest
from orphan_pipeline.settings.load import load_settings
from orphan_pipeline.settings.model import BucketSettings

__all__ = ["Graph", "MakeGraph", "World", "make_graph", "make_world", "world"]


@dataclass(frozen=True, slots=True)
class Graph:
    file: Path
    instance: dg.DagsterInstance

    @property
    def settings(self) -> BucketSettings:
        return load_settings(self.file).buckets["media"]

    @property
    def lake(self) -> BucketLake:
        return Lake(self.file.parent / "lake").bucket("media")

    def sweep(self, *stages: str, **config: str) -> dg.ExecuteInProcessResult:
        """The sweep job, or only some of its stages."""
        selection = [dg.AssetKey(["media", stage]) for stage in stages] or None
        run_config = {"ops": {"media__orphan_set": {"config": config}}} if config else {}
        return self._run("media_sweep_job", asset_selection=selection, run_config=run_config)

    def delete(self, prefix: str, *, plan: str = "", **config: str) -> dg.ExecuteInProcessResult:
        run_config = {"ops": {"media__deleted_objects": {"config": {"plan": plan, **config}}}}
        return self._run("media_deletion_job", partition_key=prefix, run_config=run_config)

    def restore(self, **what: str) -> dg.ExecuteInProcessResult:
        return self._run("media_restore_job", run_config={"ops": {"media__restore": {"config": what}}})

    def manifest(self, run: dg.ExecuteInProcessResult) -> Manifest:
        return read_document(self.lake.sweep(run.run_id).manifest, Manifest)

    def _run(self, job: str, **how: Any) -> dg.ExecuteInProcessResult:
        # Settings are read anew, as a code server that was restarted would.
        definitions = build_definitions(load_settings(self.file))
        return definitions.resolve_job_def(job).execute_in_process(instance=self.instance, raise_on_error=False, **how)


MakeGraph = Callable[[Path], Graph]


@pytest.fixture
def make_graph(tmp_path: Path) -> Iterator[MakeGraph]:
    home = tmp_path / "instance"
    home.mkdir()
    with dg.DagsterInstance.local_temp(str(home), overrides={"telemetry": {"enabled": False}}) as instance:
        yield lambda file: Graph(file, instance)


@pytest.fixture
def graph(world: World, make_graph: MakeGraph, monkeypatch: pytest.MonkeyPatch) -> Graph:
    for name, secret in world.secrets.items():
        monkeypatch.setenv(name, secret)
    return make_graph(world.file)
