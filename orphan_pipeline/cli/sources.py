"""What `check` shows of each database: which one it is. And of each source: how much there is, a sample of raw values and what becomes of
them, how much of it exists, and the rule that would make more of it exist."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from orphan_pipeline.cli.common import lake_of, out, print_table
from orphan_pipeline.orphans.manifest import latest_manifest
from orphan_pipeline.references.advice import are_documents, better_rules, match_rate, meanings
from orphan_pipeline.references.cut import DatabaseUnderCut, open_cut
from orphan_pipeline.references.extract import count_rows
from orphan_pipeline.references.figures import CutFigures
from orphan_pipeline.references.identity import full_identifier
from orphan_pipeline.references.kinds.files import open_files
from orphan_pipeline.references.normalise import explain
from orphan_pipeline.references.recheck.asking import recheck_advice
from orphan_pipeline.references.recheck.ways import Way
from orphan_pipeline.references.refusals import one_line, shown
from orphan_pipeline.references.samples import Sample, sample_of_file, sample_of_source
from orphan_pipeline.settings.model import BucketSettings, ReferenceSettings, Settings

if TYPE_CHECKING:
    from orphan_pipeline.inventory.looking_up import Catalogue

SHOWN = 5
LOW = 0.98
"""Below it a rule is looked for that would raise it."""

LOOKED_UP_AN_ATTEMPT = 24
"""Where each key is a request: enough to tell rules apart."""


def described(settings: Settings, name: str, bucket: BucketSettings, databases: Mapping[str, DatabaseUnderCut]) -> dict[str, Any]:
    """`databases` and `sources`. Opens databases and files exactly as a sweep does, so that whatever would refuse there refuses here."""
    from orphan_pipeline.resources.bucket import refusing_store_errors

    files = open_files(bucket.references, now=datetime.now(UTC))
    samples: dict[str, tuple[int, Sample]] = {source: sample_of_file(opened) for source, opened in files.items()}
    with open_cut(databases, bucket.references) as cuts:
        for source in bucket.references:
            if source.of_postgres:
                rows = count_rows(source, cuts[source.database].connection)
                samples[source.name] = rows, sample_of_source(source, cuts[source.database])
        identities = [_identity(cut, databases[cut.database].system_identifier) for cut in cuts.values()]
        asked = {way.source.name: way for way in recheck_advice(bucket.references, cuts, by=bucket.deletion.recheck_by)}
    # Databases are let go before the bucket is asked: whoever waits for a lock has waited enough.
    with refusing_store_errors(bucket.bucket):
        catalogue = _catalogue(settings, name, bucket)
        sources = [
            {**_described(source, *samples[source.name], bucket, catalogue), **_asked_again(asked[source.name])}
            for source in bucket.references
        ]
    return {"databases": identities, "sources": sources}


def _identity(cut: CutFigures, pinned: str | None) -> dict[str, Any]:
    """Which database it is, as far as a pin and the gate `references_unchanged` can tell."""
    return {
        "database": cut.database,
        "server_version": cut.server_version,
        "system_identifier": full_identifier(cut),
        "pinned": pinned,
        "timeline": cut.timeline,
        "lsn": cut.lsn,
    }


def _asked_again(way: Way) -> dict[str, Any]:
    """How the source is asked again before its keys are deleted, and which indexes would spare a pass over it."""
    return {"asked_again": way.words, "indexes_that_help": list(way.indexes)}


def _catalogue(settings: Settings, name: str, bucket: BucketSettings) -> "Catalogue":
    """The last inventory knows everything at once; without one, the bucket is asked key by key."""
    from orphan_pipeline.inventory.looking_up import of_bucket, of_inventory
    from orphan_pipeline.resources.bucket import bucket_resource

    lake = lake_of(settings, name)
    latest = latest_manifest(lake)
    files = lake.sweep(latest.sweep_id).parquet("inventory") if latest else []
    if latest and files:
        return of_inventory(files, f"the inventory of {latest.inventory.started_at:%Y-%m-%d %H:%M} UTC")
    return of_bucket(
        bucket_resource(bucket).get_client(), bucket.bucket, [prefix.path for prefix in bucket.prefixes if prefix.path[-1] == "/"]
    )


def _described(source: ReferenceSettings, rows: int, sample: Sample, bucket: BucketSettings, catalogue: "Catalogue") -> dict[str, Any]:
    found = meanings(source.key, sample.raws, json_may_be_key=source.json_may_be_key)
    rate = match_rate(found, catalogue.existing)
    there = catalogue.existing([one.key for one in found[:SHOWN] if one.key is not None and one.problem is None])
    wrong = next((explain(one.problem, one.raw) for one in found if one.problem is not None), None)  # type: ignore[arg-type]
    return {
        "source": source.name,
        "database": source.database or source.kind,
        "rows": rows,
        "keys": sample.keys,
        "sampled": len(sample.raws),
        "match_rate": rate if sample.raws else None,
        "compared_with": catalogue.source,
        "sample": [
            {
                "raw": _without_query(one.raw),
                "key": one.key if one.problem is None else None,
                "exists": one.key in there if one.key is not None and one.problem is None else None,
                "problem": one.problem,
            }
            for one in found[:SHOWN]
        ],
        "advice": _advice(source, sample.raws, bucket, catalogue) if rate < LOW else None,
        "problem": sample.problem or (f"source {source.name}: {wrong}" if wrong else None),
    }


def _advice(source: ReferenceSettings, raws: Sequence[str], bucket: BucketSettings, catalogue: "Catalogue") -> dict[str, Any] | None:
    if are_documents(raws):
        return {"words": "the values are JSON documents: say by json_paths where in them the keys stand", "key": None, "match_rate": None}
    prefixes = [prefix.path for prefix in bucket.prefixes if prefix.path.endswith("/")]
    advice = better_rules(
        source.key,
        raws,
        existing=catalogue.existing,
        folders=[*prefixes, *catalogue.folders()],
        tried_on=LOOKED_UP_AN_ATTEMPT if catalogue.is_costly else None,
    )
    return None if advice is None else {"words": str(advice), "key": advice.key, "match_rate": advice.match_rate}


def _without_query(raw: str) -> str:
    """A signed URL's signature is nobody's business."""
    return shown(raw) + ("?…" if "?" in raw else "")


def print_databases(databases: Sequence[Mapping[str, Any]]) -> None:
    for one in databases:
        timeline = "a timeline that it does not tell" if one["timeline"] is None else f"timeline {one['timeline']}"
        pin = "as pinned" if one["pinned"] == one["system_identifier"] else f'to pin it: system_identifier: "{one["system_identifier"]}"'
        out.print(f"database {one['database']}: PostgreSQL {one['server_version']}, {timeline}; {pin}", markup=False)


def print_sources(sources: Sequence[Mapping[str, Any]]) -> None:
    print_table(
        "sources",
        ["source", "database", "rows", "keys", "sampled", "of the sample exist"],
        [[s["source"], s["database"], s["rows"], s["keys"], s["sampled"], _rate(s)] for s in sources],
    )
    lines = [
        [source["source"], one["raw"], "" if one["key"] is None else one_line(one["key"], 80), _state(one)]
        for source in sources
        for one in source["sample"]
    ]
    if lines:
        print_table(f"a sample, compared with {sources[0]['compared_with']}", ["source", "raw value", "key", "exists"], lines)
    for source in sources:
        out.print(f"asked again before deletion: {source['source']} {source['asked_again']}", markup=False)
        for index in source["indexes_that_help"]:
            out.print(f"  an index would help: {index}", markup=False)
        if source["advice"]:
            out.print(f"advice: source {source['source']}: {source['advice']['words']}", markup=False)


def _rate(source: Mapping[str, Any]) -> str:
    return "-" if source["match_rate"] is None else f"{source['match_rate']:.1%}"


def _state(one: Mapping[str, Any]) -> str:
    if one["problem"] is not None:
        return str(one["problem"])
    if one["key"] is None:
        return "someone else's"
    return "yes" if one["exists"] else "no"
