"""Takes old sweeps out of the lake. Which ones may go is decided elsewhere (orphans/retention.py); here it is done so that a crash leaves
nothing half there: what goes is renamed out of the way in one step, then deleted, and what was left renamed goes the next time."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from orphan_pipeline.lake.files import make_folder, sync_folder
from orphan_pipeline.lake.layout import STAGES, BucketLake, SweepFolder


@dataclass(frozen=True, slots=True)
class Freed:
    """`sweeps` went whole, of `emptied` only the manifest was left."""

    sweeps: tuple[str, ...]
    emptied: tuple[str, ...]
    bytes: int


def remove_sweeps(lake: BucketLake, whole: list[SweepFolder], but_the_manifest: list[SweepFolder]) -> Freed:
    """Bytes are those of the files that went, with what a former attempt had left."""
    emptied = [sweep for sweep in but_the_manifest if any(sweep.stage(stage).exists() for stage in STAGES)]
    going = [
        *((sweep.root, sweep.sweep_id) for sweep in whole),
        *((sweep.stage(stage), f"{sweep.sweep_id}.{stage}") for sweep in emptied for stage in STAGES),
    ]
    for folder, name in going:
        if folder.exists():
            make_folder(lake.removed)
            folder.rename(_free(lake.removed, name))
            sync_folder(folder.parent)
    freed = sum(path.stat().st_size for path in lake.removed.rglob("*") if path.is_file())
    if lake.removed.exists():
        shutil.rmtree(lake.removed)
    return Freed(tuple(sweep.sweep_id for sweep in whole), tuple(sweep.sweep_id for sweep in emptied), freed)


def _free(folder: Path, name: str) -> Path:
    """A name that nothing left by a former attempt has."""
    n = 0
    while (place := folder / f"{n}.{name}").exists():
        n += 1
    return place
