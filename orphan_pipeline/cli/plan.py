"""`orphan-pipeline plan`: what the latest sweep would delete, what it holds and why, and its gates."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

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
from orphan_pipeline.cli.since import notes, spent, what_became
from orphan_pipeline.digests import shown
from orphan_pipeline.errors import Refused
from orphan_pipeline.gates.gate import GATES, PREFIX_GATES, Gate
from orphan_pipeline.orphans.acceptance import closed_gates, gates_of
from orphan_pipeline.orphans.approvals import approved
from orphan_pipeline.orphans.manifest import Manifest, latest_manifest
from orphan_pipeline.orphans.summary import closing_line
from orphan_pipeline.settings.model import BucketSettings, Settings

MOST_LINES = 10


@click.command("plan")
@settings_option
@bucket_option
@json_option
def command(settings_path: Path | None, bucket: str | None, as_json: bool) -> None:
    """Show plans, holds and gates of the latest sweep."""
    settings = open_settings(settings_path, secrets=False)
    figures = {}
    for name, own in chosen_buckets(settings, bucket).items():
        manifest = latest_manifest(lake_of(settings, name))
        if manifest is None:
            raise Refused(f"{name}: there is no finished sweep yet (orphan-pipeline sweep)")
        figures[name] = sweep_figures(settings, own, manifest)
        if not as_json:
            show_sweep(settings, own, manifest)
    if as_json:
        print_json(figures)


def sweep_figures(settings: Settings, bucket: BucketSettings, manifest: Manifest) -> dict[str, Any]:
    """What `sweep --json` and `plan --json` print of one sweep."""
    lake = lake_of(settings, manifest.bucket)
    approval = approved(lake, manifest.digest)
    gates = gates_of(lake, manifest, bucket)
    became = what_became(lake, manifest, manifest.plans.values(), now=datetime.now(UTC))
    return {
        "sweep": manifest.sweep_id,
        "digest": manifest.digest,
        "published_at": manifest.published_at.isoformat(),
        "expires_at": manifest.expires_at.isoformat(),
        "cutoff": manifest.cutoff.isoformat(),
        "flags": list(manifest.flags),
        "objects": manifest.inventory.total.objects,
        "unowned": manifest.unowned.objects,
        "orphans": manifest.orphans.objects,
        "holds": {hold: amount.objects for hold, amount in manifest.holds.items()},
        "deletable": manifest.deletable.objects,
        "deletable_bytes": manifest.deletable.bytes,
        "sources": {
            name: {
                "references": match.references,
                "dangling": match.dangling,
                "match_rate": match.match_rate,
                "match_rate_of_rows": match.of_rows,
                "match_rate_of_keys": match.of_keys,
            }
            for name, match in manifest.source_matches.items()
        },
        "plans": {
            prefix: {
                "digest": plan.digest,
                "objects": plan.amount.objects,
                "bytes": plan.amount.bytes,
                "chunks": plan.chunks,
                "became": became[prefix].state if prefix in became else None,
            }
            for prefix, plan in manifest.plans.items()
        },
        "gates": [
            {"gate": g.name, "prefix": g.prefix, "passed": g.passed, "found": g.found, "limit": g.limit, "message": g.message}
            for g in gates
        ],
        "approved_by": approval.by if approval else None,
        "outcome": closing_line(manifest, closed_gates(lake, manifest, gates), spent(became)),
    }


def show_sweep(settings: Settings, bucket: BucketSettings, manifest: Manifest) -> None:
    """The same for people."""
    lake = lake_of(settings, manifest.bucket)
    gates = gates_of(lake, manifest, bucket)
    became = what_became(lake, manifest, manifest.plans.values(), now=datetime.now(UTC))
    reasons = list(manifest.holds)
    print_table(
        f"{manifest.bucket}: sweep {manifest.sweep_id} ({manifest.published_at:%Y-%m-%d %H:%M} UTC)",
        ["prefix", "objects", "orphans", *reasons, "deletable", "bytes", "plan"],
        [
            [
                prefix,
                figures.inventory.objects,
                figures.orphans.objects,
                *(figures.holds[reason].objects if reason in figures.holds else 0 for reason in reasons),
                figures.deletable.objects,
                figures.deletable.bytes,
                shown(manifest.plans[prefix].digest) if prefix in manifest.plans else "",
            ]
            for prefix, figures in manifest.prefixes.items()
        ],
    )
    out.print(f"unowned orphans (never deleted): {manifest.unowned.objects:,}")
    for line in [*(f"note: {flag}" for flag in manifest.flags), *gate_lines(gates)]:
        out.print(line, markup=False)
    out.print(f"sweep digest {shown(manifest.digest)}, plans expire {manifest.expires_at:%Y-%m-%d %H:%M} UTC")
    for line in notes(became):
        out.print(line, markup=False)
    out.print(closing_line(manifest, closed_gates(lake, manifest, gates), spent(became)), markup=False)


def gate_lines(gates: list[Gate]) -> list[str]:
    """A line for each gate of the bucket, and for each one of a prefix that tripped: nobody reads that a thousand prefixes passed."""
    lines = []
    for name in GATES:
        own = [gate for gate in gates if gate.name == name]
        if name not in PREFIX_GATES:
            lines += [f"gate {name}: {'passed' if gate.passed else 'TRIPPED'}: {gate.message}" for gate in own]
            continue
        closed = sorted((gate for gate in own if not gate.passed), key=lambda gate: gate.distance, reverse=True)
        lines += [f"gate {name}: TRIPPED: {gate.message}" for gate in closed[:MOST_LINES]]
        if len(closed) > MOST_LINES:
            lines.append(f"gate {name}: TRIPPED: for {len(closed) - MOST_LINES:,} more prefixes (--json names them)")
        if not closed:
            lines.append(f"gate {name}: passed: by all of {len(own):,} prefixes")
    return lines
