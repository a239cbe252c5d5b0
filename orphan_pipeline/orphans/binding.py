"""What decides what is deleted: the part of the settings that a plan is bound to (rule 9), and the parts that its snapshots were made by.

A sweep is not one moment. Where a stage fails, somebody edits the settings and runs the rest again, over the snapshots that are there:
without a note of what those were made by, a prefix that is no longer declared would come into a plan that is bound to the settings of now.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orphan_pipeline.errors import Refused
from orphan_pipeline.lake.files import read_document, write_document
from orphan_pipeline.lake.layout import Stage, SweepFolder
from orphan_pipeline.settings.databases import RATES
from orphan_pipeline.settings.model import BucketSettings, DatabaseSettings

Bound = dict[str, Any]
"""Settings as JSON. Secrets appear as the names of their variables."""

MADE_BY = "settings.json"
"""Beside a stage's figures."""


def binding(bucket: BucketSettings, databases: dict[str, DatabaseSettings]) -> Bound:
    """Of a plan: bucket, endpoint, region, prefixes, protect, references and their databases, safety. Not rates, not hooks, not the mode:
    changing those leaves a plan as good as it was."""
    return inventory_binding(bucket) | references_binding(bucket, databases) | bucket.model_dump(mode="json", include={"protect", "safety"})


def inventory_binding(bucket: BucketSettings) -> Bound:
    """Of the inventory: what is listed, and whose it is."""
    bound: Bound = bucket.model_dump(mode="json", include={"bucket", "endpoint", "region", "inventory", "prefixes"})
    del bound["inventory"]["concurrency"]
    return bound


def references_binding(bucket: BucketSettings, databases: dict[str, DatabaseSettings]) -> Bound:
    """Of the references: what is read, where, and how keys are made of it."""
    named = sorted({reference.database for reference in bucket.references if reference.of_postgres})
    bound: Bound = bucket.model_dump(mode="json", include={"references"})
    return bound | {"databases": {name: databases[name].model_dump(mode="json", exclude=set(RATES)) for name in named}}


def differences(before: object, now: object, path: str = "") -> Iterator[str]:
    """The paths at which two bindings differ."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in before.keys() | now.keys():
            yield from differences(before.get(name), now.get(name), f"{path}.{name}" if path else name)
    elif before != now:
        yield path


def write_made_by(folder: Path, bound: Bound) -> None:
    """Into the folder of a stage that is being written."""
    write_document(folder / MADE_BY, Bound, bound)


def refuse_unless_made_by(sweep: SweepFolder, stage: Stage, bound: Bound) -> None:
    """Raises Refused where this snapshot was made by other settings than these."""
    note = sweep.stage(stage) / MADE_BY
    made_by = read_document(note, Bound) if note.is_file() else {}
    changed = sorted(differences(made_by, bound))
    if changed:
        what = f"{', '.join(changed)} changed since" if made_by else "it does not say which"
        raise Refused(
            f"sweep {sweep.sweep_id}: its {stage} snapshot was made under other settings ({what}): launch a new run of the sweep job"
        )
