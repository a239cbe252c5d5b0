"""Why nothing would be deleted now, whatever the mode says: each reason in the words in which the deletion itself would refuse. For the
last line of `check`; decides nothing."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from orphan_pipeline.deletion.abilities import StoreAbilities, chosen_way
from orphan_pipeline.deletion.probing import NotKnown, tried
from orphan_pipeline.deletion.quarantine.place import Quarantine
from orphan_pipeline.deletion.quarantine.preflight import tried_quarantine
from orphan_pipeline.deletion.stopping import kill_switch_words
from orphan_pipeline.deletion.undo.foreseen import undo_foreseen
from orphan_pipeline.deletion.undo.renamed import refuse_if_renamed
from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.orphans.acceptance import closed_gates, gates_of
from orphan_pipeline.orphans.manifest import latest_manifest
from orphan_pipeline.orphans.pauses import refusal_line, standing_pause
from orphan_pipeline.orphans.summary import approval_command
from orphan_pipeline.settings.model import BucketSettings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def reasons_of_the_store(client: "S3Client", settings: BucketSettings, abilities: StoreAbilities | NotKnown) -> Iterator[str]:
    """What the mode needs of the store and does not find there; `abilities` are what `check` has found out already. In mode quarantine a
    throw-away object goes into the quarantine and comes back. Nothing in mode dry_run, which needs nothing."""
    deletion = settings.deletion
    if deletion.mode == "dry_run":
        return
    if deletion.mode == "quarantine" and deletion.quarantine is not None:
        quarantine = Quarantine.of(deletion.quarantine)
        copier = tried(lambda: tried_quarantine(client, settings.bucket, quarantine, deletion.undo_window))
        if isinstance(copier, NotKnown):
            yield f"undo: {copier.why}"
    else:
        could_undo, undo = undo_foreseen(client, settings)
        if not could_undo:
            yield f"undo: {undo}"
    if isinstance(abilities, NotKnown):
        yield f"conditional deletes: {abilities}"
        return
    way = tried(lambda: chosen_way(abilities, settings.bucket, allow_unconditional=deletion.allow_unconditional_delete))
    if isinstance(way, NotKnown):
        yield way.why


def reasons_of_the_lake(lake: BucketLake, settings: BucketSettings) -> Iterator[str]:
    """What was put or left in the lake: the kill switch, a pause, and, where the mode would delete, ledgers under another name and a
    latest sweep whose gates nobody approved."""
    stop = kill_switch_words(lake.kill_switch)
    if stop is not None:
        yield stop
    pause = standing_pause(lake)
    if pause is not None:
        yield refusal_line(pause)
    if settings.deletion.mode == "dry_run":
        return
    renamed = tried(lambda: refuse_if_renamed(lake, settings))
    if isinstance(renamed, NotKnown):
        yield renamed.why
    latest = latest_manifest(lake)
    if latest is None:
        yield "there is no finished sweep yet, so none was accepted as the baseline (orphan-pipeline sweep)"
        return
    closed = dict.fromkeys(gate.name for gate in closed_gates(lake, latest, gates_of(lake, latest, settings)).bucket)
    if closed:
        gates = f"gate {next(iter(closed))} is" if len(closed) == 1 else f"gates {', '.join(closed)} are"
        yield f"{gates} tripped in the latest sweep and not approved ({approval_command(latest.digest)})"
