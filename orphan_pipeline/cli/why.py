"""`orphan-pipeline why KEY`: everything that the lake knows of one key."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from orphan_pipeline import digests
from orphan_pipeline.cli.common import json_option, lake_of, one_bucket, one_bucket_option, open_settings, out, print_json, settings_option
from orphan_pipeline.deletion.quarantine.place import remembered
from orphan_pipeline.errors import Refused
from orphan_pipeline.orphans.manifest import Manifest, read_manifests
from orphan_pipeline.orphans.publish import hold_limits
from orphan_pipeline.why.evidence import evidence_of
from orphan_pipeline.why.story import Story, tell
from orphan_pipeline.wording import counted


@click.command("why")
@click.argument("key")
@click.option("--sweep", "sweep_id", help="What this sweep says, by the beginning of its id. Default: the latest one.")
@click.option(
    "--evidence", is_flag=True, help="Print as JSON every row of ledgers and restores that names the key, for an erasure request."
)
@settings_option
@one_bucket_option
@json_option
def command(key: str, sweep_id: str | None, evidence: bool, settings_path: Path | None, bucket: str | None, as_json: bool) -> None:
    """Show everything known about one key: object, references, hold, plan, ledger."""
    settings = open_settings(settings_path, secrets=False)
    name, own = one_bucket(settings, bucket)
    lake = lake_of(settings, name)
    if evidence:
        print_json(evidence_of(lake, name, own.bucket, key))
        return
    manifests = read_manifests(lake)
    limits = hold_limits(own, settings.reports(), [*settings.quarantines(), *remembered(lake)])
    story = tell(
        lake,
        manifests,
        _chosen(name, manifests, sweep_id),
        key,
        protect=limits.protect,
        own_prefixes=limits.own_prefixes,
        hosts=limits.hosts,
    )
    if as_json:
        print_json({"verdict": story.verdict, **asdict(story)})
    else:
        show(story)


def _chosen(name: str, manifests: list[Manifest], sweep_id: str | None) -> Manifest:
    if not manifests:
        raise Refused(f"{name}: there is no finished sweep yet (orphan-pipeline sweep)")
    if sweep_id is None:
        return manifests[-1]
    found = [manifest for manifest in manifests if manifest.sweep_id.startswith(sweep_id)]
    if len(found) != 1:
        raise Refused(f"--sweep {sweep_id!r}: {len(found)} finished sweeps of {name} have an id that begins so, expected one")
    return found[0]


def show(story: Story) -> None:
    """For people: the verdict first, then what it rests on."""
    for line in lines(story):
        out.print(line, markup=False)


def lines(story: Story) -> list[str]:
    told = [f"{story.key!r} in {story.bucket}, sweep {story.sweep_id} ({story.looked_at:%Y-%m-%d %H:%M} UTC)", story.verdict]
    if story.object is not None:
        found = story.object
        told.append(
            f"object: {found.size:,} bytes, written {_time(found.last_modified)}, ETag {found.etag}, {found.storage_class}"
            f"{', multipart' if found.is_multipart else ''}, owned by {found.prefix or 'no declared prefix'}"
        )
    if story.protected_by is not None:
        told.append(f"protected by {story.protected_by}")
    for reference in (*story.references.exact, *story.references.resembling):
        resembles = f", which resembles it ({reference.view})" if reference.view else ""
        derived = ", by a template of variants" if reference.derived else ""
        told.append(f"reference: {reference.key!r}{resembles} from {reference.source}, row {reference.row_id}{derived}")
    shown = len(story.references.exact) + len(story.references.resembling)
    if story.references.counted > shown:
        told.append(f"and {story.references.counted - shown:,} references more")
    if story.kept_by is not None:
        told.append(f"variant: {story.kept_by.template!r} of {story.kept_by.source}, filled with {story.kept_by.parent!r}, matches it")
    if story.orphan is not None:
        seen = story.orphan
        told.append(
            f"seen as an orphan since {_time(seen.first_seen)}, {counted(seen.sightings, 'time')}, last counted {_time(seen.sighted_at)}"
        )
    if story.plan is not None and story.plan_expires_at is not None:
        told.append(f"plan {digests.shown(story.plan)} expires {_time(story.plan_expires_at)}")
    told += [f"sweep {sighting.sweep_id} ({_time(sighting.at)}): {sighting.verdict}" for sighting in story.history]
    told += [_done(done) for done in asdict(story)["done"]]
    return told


def _done(done: dict[str, Any]) -> str:
    version = f", version {done['version_id']}" if done["version_id"] else ""
    code = f" ({done['code']})" if done["code"] else ""
    return f"{done['what']} {digests.shown(done['of'])}: {done['outcome']}{code} {_time(done['at'])}{version}"


def _time(at: Any) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"
