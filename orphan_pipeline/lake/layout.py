"""Where everything lies in the lake: the one module that knows its paths (SPEC section 6).

    {bucket}/sweeps/{sweep_id}/{inventory,references,dangling,orphans}/   each with its Parquet and a stage.json;
                                                                          the first two with settings.json
    {bucket}/sweeps/{sweep_id}/lookup/                                    forms of the references, written with the orphans
    {bucket}/sweeps/{sweep_id}/manifest.json                             written last: without it the sweep does not exist
    {bucket}/ledger/{plan_digest}/plan.json, {chunk}.intent.json, {chunk}.parquet (or .partial.parquet), {run_id}.run.json
    {bucket}/dry_runs/{plan_digest}/…                                     the same, for runs that only pretend
    {bucket}/restores/{restore_id}/restore.json, {chunk}.parquet, sample.json
    {bucket}/releases/{release_id}/release.json, released.parquet
    {bucket}/purges/{purge_id}/{chunk}.parquet
    {bucket}/quarantines/{name}.json                                     every quarantine that was ever used
    {bucket}/approvals/{digest}.json
    {bucket}/pauses/{sweep_id}/pause.json, missed.parquet                 what we deleted and a row points at (rule 15)
    {bucket}/removed/                                                     what retention is taking away
    {bucket}/STOP                                                         while it is there, nothing is deleted; its text is the reason

What the files hold is documented beside the code that writes them.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Literal, TypeVar, get_args
from urllib.parse import quote

from orphan_pipeline.errors import Refused
from orphan_pipeline.lake.files import folder_written_whole, read_document

T = TypeVar("T")
Stage = Literal["inventory", "references", "dangling", "orphans", "lookup"]
STAGES: tuple[Stage, ...] = get_args(Stage)
FIGURES = "stage.json"
LONGEST_FOLDER_NAME = 120


def prefix_folder(prefix: str) -> str:
    """A folder name for a prefix: readable, without a slash, and no longer than file systems allow (255 bytes)."""
    name = quote(prefix, safe="()")
    if len(name) <= LONGEST_FOLDER_NAME:
        return name
    return f"{name[:LONGEST_FOLDER_NAME]}-{sha256(prefix.encode()).hexdigest()[:16]}"


@dataclass(frozen=True, slots=True)
class SweepFolder:
    """One sweep's files, whether the sweep is finished or not."""

    root: Path

    @property
    def sweep_id(self) -> str:
        return self.root.name

    @property
    def manifest(self) -> Path:
        return self.root / "manifest.json"

    @property
    def published(self) -> bool:
        return self.manifest.is_file()

    @property
    def whole(self) -> bool:
        """Whether its data is there: retention leaves of some sweeps the manifest alone."""
        return all(self.stage(stage).is_dir() for stage in ("inventory", "references", "orphans"))

    def stage(self, stage: Stage) -> Path:
        return self.root / stage

    @contextmanager
    def writing(self, stage: Stage) -> Iterator[Path]:
        """A folder to write the stage into, which takes its place whole when all went well. What a former attempt at this sweep left
        of this stage and of those after it goes first: references must never be older than the inventory (rule 1).

        Raises Refused when the sweep is published: it is then as immutable as the plans that came of it.
        """
        if self.published:
            raise Refused(f"sweep {self.sweep_id} is finished and stays as it is: launch a new run of the sweep job")
        for later in STAGES[STAGES.index(stage) :]:
            if self.stage(later).exists():
                shutil.rmtree(self.stage(later))
        with folder_written_whole(self.stage(stage)) as folder:
            yield folder

    def figures(self, stage: Stage, of: type[T]) -> T:
        """What a finished stage of this sweep wrote down. Raises Refused when the stage has not been done in this sweep."""
        path = self.stage(stage) / FIGURES
        if not path.is_file():
            raise Refused(
                f"sweep {self.sweep_id} has no {stage} snapshot: run the whole sweep job; snapshots of different sweeps are never joined"
            )
        return read_document(path, of)

    def parquet(self, stage: Stage) -> list[str]:
        return sorted(str(path) for path in self.stage(stage).rglob("*.parquet"))

    def orphan_files(self) -> list[Path]:
        """Plans and holds of every prefix."""
        return sorted(self.stage("orphans").glob("*/*.parquet"))

    def prefix_files(self, prefix: str) -> Path:
        """The folder of one prefix's plan and holds."""
        return self.stage("orphans") / prefix_folder(prefix)


@dataclass(frozen=True, slots=True)
class BucketLake:
    """The part of the lake that belongs to one bucket of the settings."""

    root: Path

    def sweep(self, sweep_id: str) -> SweepFolder:
        return SweepFolder(self.root / "sweeps" / sweep_id)

    def published_sweeps(self) -> Iterator[SweepFolder]:
        """Sweeps that have a manifest, in no order."""
        for manifest in self.root.glob("sweeps/*/manifest.json"):
            yield SweepFolder(manifest.parent)

    def ledger(self, plan_digest: str, *, dry_run: bool) -> Path:
        return self.root / ("dry_runs" if dry_run else "ledger") / plan_digest

    def ledgers(self) -> list[Path]:
        """Folders of the ledgers of real deletions, oldest name first."""
        return sorted(self.root.glob("ledger/*"))

    def restore(self, restore_id: str) -> Path:
        return self.root / "restores" / restore_id

    def restores(self) -> list[Path]:
        """Folders of the restores that were begun."""
        return sorted(note.parent for note in self.root.glob("restores/*/restore.json"))

    def restored_parquet(self) -> list[str]:
        return sorted(str(path) for path in self.root.glob("restores/*/*.parquet"))

    def release(self, release_id: str) -> Path:
        return self.root / "releases" / release_id

    def released_parquet(self) -> list[str]:
        return sorted(str(path) for path in self.root.glob("releases/[!.]*/*.parquet"))

    def purge(self, purge_id: str) -> Path:
        return self.root / "purges" / purge_id

    def purged_parquet(self) -> list[str]:
        return sorted(str(path) for path in self.root.glob("purges/*/*.parquet"))

    def quarantine(self, name: str) -> Path:
        return self.root / "quarantines" / f"{name}.json"

    @property
    def ever_quarantined(self) -> bool:
        return any(self.root.glob("quarantines/*.json"))

    def quarantines(self) -> list[Path]:
        """What is remembered of quarantines, of every bucket in the lake: whatever lies there is no orphan of any of them."""
        return sorted(self.root.parent.glob("*/quarantines/*.json"))

    @property
    def kill_switch(self) -> Path:
        return self.root / "STOP"

    def approval(self, digest: str) -> Path:
        return self.root / "approvals" / f"{digest}.json"

    def pause(self, sweep_id: str) -> Path:
        return self.root / "pauses" / sweep_id

    def pauses(self) -> list[Path]:
        """Folders of the pauses that were declared."""
        return sorted(declared.parent for declared in self.root.glob("pauses/*/pause.json"))

    def ledger_parquet(self, *, since: datetime) -> list[str]:
        """The recorded outcomes of real deletions, without files that were written before that moment."""
        files = self.root.glob("ledger/*/*[0-9].parquet")
        return sorted(str(path) for path in files if path.stat().st_mtime >= since.timestamp())

    def sweep_folders(self) -> list[SweepFolder]:
        """Every sweep, finished or not."""
        return [SweepFolder(folder) for folder in sorted(self.root.glob("sweeps/*")) if folder.is_dir()]

    @property
    def removed(self) -> Path:
        return self.root / "removed"


@dataclass(frozen=True, slots=True)
class Lake:
    root: Path

    def bucket(self, name: str) -> BucketLake:
        return BucketLake(self.root / name)
