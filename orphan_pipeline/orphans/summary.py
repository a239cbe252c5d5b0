"""The one line that a sweep ends with: what can be deleted, or when something first can be, and why not before."""

from orphan_pipeline.orphans.manifest import Manifest

BECAUSE = {
    "young": "the oldest orphans are younger than min_age (and multipart_grace) until then",
    "unconfirmed": "an orphan must be seen in as many sweeps as `confirmations` says, `confirmation_gap` apart",
}


def closing_line(manifest: Manifest) -> str:
    deletable = manifest.deletable
    if deletable.objects:
        return f"deletable now: {deletable.objects:,} objects, {deletable.bytes:,} bytes, in {len(manifest.plans):,} prefixes"
    if manifest.earliest is not None:
        return f"earliest deletable: {manifest.earliest.at:%Y-%m-%d %H:%M:%S} UTC, because {BECAUSE[manifest.earliest.hold]}"
    if manifest.orphans.objects:
        return "earliest deletable: never by itself, because every orphan is protected, was restored, or resembles a reference"
    return "earliest deletable: never, because there is no orphan under a declared prefix"
