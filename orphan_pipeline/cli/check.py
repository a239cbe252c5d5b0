"""`orphan-pipeline check`: whether the settings hold together and everything they name answers, whether what the sources say is what the
bucket holds, and whether anything can be deleted. Reads the databases and the lake; in the bucket, and in the quarantine if that is the
mode, it puts throw-away objects under names of its own and removes them, since only that shows what the store honours."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orphan_pipeline.cli.common import (
    bucket_option,
    chosen_buckets,
    json_option,
    lake_of,
    open_settings,
    out,
    print_json,
    print_table,
    settings_option,
)
from orphan_pipeline.cli.in_the_way import reasons_of_the_lake, reasons_of_the_store
from orphan_pipeline.cli.sources import described, print_databases, print_sources
from orphan_pipeline.deletion.abilities import probe_store
from orphan_pipeline.deletion.hooks import resolve_hooks
from orphan_pipeline.deletion.lease.registers import lease_words
from orphan_pipeline.deletion.preflight import shortest_noncurrent_days, versioning_of, warning_of_overwrites
from orphan_pipeline.deletion.probing import NotKnown, tried
from orphan_pipeline.errors import Refused
from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.references.cut import DatabaseUnderCut
from orphan_pipeline.references.grants import grants
from orphan_pipeline.settings.model import BucketSettings, Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@click.command("check")
@settings_option
@bucket_option
@json_option
@click.option("--grants", "only_grants", is_flag=True, help="Print the SQL that makes a role which may read the sources, and nothing else.")
def command(settings_path: Path | None, bucket: str | None, as_json: bool, only_grants: bool) -> None:
    """Validate settings, connect, show bucket, versioning, and what each source says and how much of it exists."""
    settings = open_settings(settings_path)
    buckets = chosen_buckets(settings, bucket)
    if only_grants:
        _print_grants(settings, buckets, as_json=as_json)
        return
    for name, own in buckets.items():
        resolve_hooks(own.deletion, at=f"buckets.{name}")
    figures = {
        name: {**_bucket(lake_of(settings, name), own), **described(settings, name, own, _databases(settings, own))}
        for name, own in buckets.items()
    }
    warnings = [*settings.warnings(), *(f"{name}: {found['warning']}" for name, found in figures.items() if found["warning"])]
    automation = _automation(settings, list(buckets))
    closing = [deletion_line(name, own, **automation[name], in_the_way=figures[name]["in_the_way"]) for name, own in buckets.items()]
    if as_json:
        print_json({"settings": str(settings.file), "warnings": warnings, "buckets": figures, "deletion": closing})
    else:
        for name, found in figures.items():
            print_table(
                name,
                ["bucket", "versioning", "noncurrent versions kept", "conditional deletes", "lease"],
                [[found["bucket"], found["versioning"], found["noncurrent_versions_kept"], found["conditional_deletes"], found["lease"]]],
            )
            print_databases(found["databases"])
            print_sources(found["sources"])
        for warning in warnings:
            out.print(f"note: {warning}", markup=False)
        for line in closing:
            out.print(line, markup=False)
    for problem in (source["problem"] for found in figures.values() for source in found["sources"] if source["problem"]):
        raise Refused(f"a sweep would fail: {problem}")


def deletion_line(name: str, settings: BucketSettings, *, schedule: bool, sensor: bool, in_the_way: Sequence[str] = ()) -> str:
    """Whether anything can be deleted, and why not. `in_the_way`: what else than the mode keeps it from being deleted."""
    mode = settings.deletion.mode
    states = f"schedule is {_state(schedule)}; sensor is {_state(sensor)}"
    if mode == "dry_run" or in_the_way:
        return f"Deletion is OFF: {'; '.join([f'{name}.deletion.mode is {mode}', *in_the_way, states])}."
    return f"Deletion is ON: {name}.deletion.mode is {mode}; {states} " + (
        "(so after every sweep that passes its gates)." if sensor else "(so only when someone starts it)."
    )


def _state(running: bool) -> str:
    return "running" if running else "stopped"


def _bucket(lake: BucketLake, settings: BucketSettings) -> dict[str, Any]:
    """Each probe is made once. What this role may not ask, or try, is said in the place of the answer."""
    from orphan_pipeline.resources.bucket import bucket_resource, refusing_store_errors

    with refusing_store_errors(settings.bucket):
        client = bucket_resource(settings).get_client()
        client.head_bucket(Bucket=settings.bucket)
        versioning = tried(lambda: versioning_of(client, settings.bucket))
        abilities = tried(lambda: probe_store(client, settings.bucket))
        return {
            "bucket": settings.bucket,
            "versioning": str(versioning),
            "noncurrent_versions_kept": _kept(client, settings.bucket),
            "conditional_deletes": str(abilities) if isinstance(abilities, NotKnown) else abilities.words,
            "lease": lease_words(client, settings.bucket),
            "warning": None
            if isinstance(versioning, NotKnown)
            else warning_of_overwrites(client, settings.bucket, settings.deletion.mode, versioning),
            "in_the_way": [*reasons_of_the_store(client, settings, abilities), *reasons_of_the_lake(lake, settings)],
        }


def _kept(client: "S3Client", bucket: str) -> str:
    days = tried(lambda: shortest_noncurrent_days(client, bucket))
    if isinstance(days, NotKnown):
        return str(days)
    return "for ever" if days is None else f"{days} days"


def _databases(settings: Settings, bucket: BucketSettings) -> dict[str, DatabaseUnderCut]:
    """As a sweep reaches them: by the replica where there is one, with the same limits."""
    from orphan_pipeline.resources.databases import database_resource

    named = {source.database: settings.databases[source.database] for source in bucket.references if source.of_postgres}
    return {name: database_resource(database).under_cut() for name, database in named.items()}


def _print_grants(settings: Settings, buckets: dict[str, BucketSettings], *, as_json: bool) -> None:
    databases = {name: database for own in buckets.values() for name, database in _databases(settings, own).items()}
    sources = [source for own in buckets.values() for source in own.references]
    statements = {name: grants(name, database, [s for s in sources if s.database == name]) for name, database in databases.items()}
    if as_json:
        print_json(statements)
        return
    for name, lines in statements.items():
        click.echo(f"-- database {name}: run these as its owner, with a password of your own")
        for line in lines:
            click.echo(line)


def _automation(settings: Settings, buckets: list[str]) -> dict[str, dict[str, bool]]:
    from orphan_pipeline.assets.names import Names
    from orphan_pipeline.resources.runs import turned_on

    on = turned_on(settings.file.parent)
    return {b: {"schedule": Names(b).schedule in on, "sensor": Names(b).sensor in on} for b in buckets}
