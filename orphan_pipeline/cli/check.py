"""`orphan-pipeline check`: whether the settings hold together and everything they name answers. Changes nothing."""

from pathlib import Path
from typing import Any

import click

from orphan_pipeline.cli.common import (
    bucket_option,
    chosen_buckets,
    json_option,
    open_settings,
    out,
    print_json,
    print_table,
    settings_option,
)
from orphan_pipeline.deletion.abilities import abilities_words
from orphan_pipeline.deletion.preflight import shortest_noncurrent_days, versioning_of
from orphan_pipeline.references.cut import DatabaseUnderCut, open_cut
from orphan_pipeline.references.extract import count_rows
from orphan_pipeline.settings.model import BucketSettings, Settings


@click.command("check")
@settings_option
@bucket_option
@json_option
def command(settings_path: Path | None, bucket: str | None, as_json: bool) -> None:
    """Validate settings, connect, show bucket, versioning and row counts."""
    settings = open_settings(settings_path)
    buckets = chosen_buckets(settings, bucket)
    figures = {name: {**_bucket(own), "sources": _sources(settings, own)} for name, own in buckets.items()}
    automation = _automation(settings, list(buckets))
    closing = [deletion_line(name, own, **automation[name]) for name, own in buckets.items()]
    if as_json:
        print_json({"settings": str(settings.file), "warnings": settings.warnings(), "buckets": figures, "deletion": closing})
        return
    for name, found in figures.items():
        print_table(
            name,
            ["bucket", "versioning", "noncurrent versions kept", "conditional deletes"],
            [[found["bucket"], found["versioning"], found["noncurrent_versions_kept"], found["conditional_deletes"]]],
        )
        print_table("sources", ["source", "database", "rows"], [[s["source"], s["database"], s["rows"]] for s in found["sources"]])
    for warning in settings.warnings():
        out.print(f"note: {warning}", markup=False)
    for line in closing:
        out.print(line, markup=False)


def deletion_line(name: str, settings: BucketSettings, *, schedule: bool, sensor: bool) -> str:
    """Whether anything can be deleted, and why not."""
    mode = settings.deletion.mode
    states = f"schedule is {_state(schedule)}; sensor is {_state(sensor)}"
    if mode == "dry_run":
        return f"Deletion is OFF: {name}.deletion.mode is dry_run; {states}."
    return f"Deletion is ON: {name}.deletion.mode is {mode}; {states} " + (
        "(so after every sweep that passes its gates)." if sensor else "(so only when someone starts it)."
    )


def _state(running: bool) -> str:
    return "running" if running else "stopped"


def _bucket(settings: BucketSettings) -> dict[str, Any]:
    from orphan_pipeline.resources.bucket import bucket_resource, refusing_store_errors

    with refusing_store_errors(settings.bucket):
        client = bucket_resource(settings).get_client()
        client.head_bucket(Bucket=settings.bucket)
        days = shortest_noncurrent_days(client, settings.bucket)
        return {
            "bucket": settings.bucket,
            "versioning": versioning_of(client, settings.bucket),
            "noncurrent_versions_kept": "for ever" if days is None else f"{days} days",
            "conditional_deletes": abilities_words(client, settings.bucket),
        }


def _sources(settings: Settings, bucket: BucketSettings) -> list[dict[str, Any]]:
    """Opens the databases exactly as a sweep does, so that whatever would refuse there refuses here."""
    named = {source.database: settings.databases[source.database] for source in bucket.references}
    databases = {
        name: DatabaseUnderCut(url=database.url.read(), system_identifier=database.system_identifier) for name, database in named.items()
    }
    with open_cut(databases, bucket.references) as cuts:
        return [
            {
                "source": source.name,
                "database": source.database,
                "rows": count_rows(source, cuts[source.database].connection),
            }
            for source in bucket.references
        ]


def _automation(settings: Settings, buckets: list[str]) -> dict[str, dict[str, bool]]:
    from orphan_pipeline.assets.names import Names
    from orphan_pipeline.resources.runs import turned_on

    on = turned_on(settings.file.parent)
    return {b: {"schedule": Names(b).schedule in on, "sensor": Names(b).sensor in on} for b in buckets}
