"""What must be true before anything is deleted (rule 8). One pure function over a sweep's figures; the checks on `orphan_set` show
its results, and `deleted_objects` asks it again, since a blocking check does not stop a later, separate run.

A tripped gate blocks until someone approves that sweep's digest, or one prefix's. More gates (shrinking sources, age bands,
trailing medians, a first baseline) belong here and nowhere else.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from orphan_pipeline.inventory.snapshot import Amount
from orphan_pipeline.orphans.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class GateLimits:
    """`source_floors`: fewest references by source. Fractions between 0 and 1."""

    source_floors: dict[str, int]
    min_match_rate: float
    max_orphan_fraction: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One gate's answer. `prefix` is None for a gate of the whole bucket. `found` and `limit` are numbers of the same kind."""

    name: str
    passed: bool
    found: float
    limit: float
    message: str
    prefix: str | None = None


GATES = {
    "inventory_not_empty": "The inventory holds at least one object.",
    "sources_above_floor": "Every reference source yields at least `expect_rows_at_least` references.",
    "match_rate": "Of every source's references, at least `min_match_rate` have their object in the inventory.",
    "orphan_fraction": "At most `max_orphan_fraction` of the owned objects, by count and by bytes, are orphans.",
    "prefix_orphan_fraction": "The same for each prefix alone; enforced when that prefix is deleted.",
}
PREFIX_GATES = frozenset({"prefix_orphan_fraction"})


def evaluate(manifest: Manifest, limits: GateLimits) -> list[Gate]:
    """Every gate of the bucket and of each of its prefixes. Pure: the same figures and limits give the same answer."""
    return [
        _inventory_not_empty(manifest),
        *_sources_above_floor(manifest, limits),
        *_match_rates(manifest, limits),
        _orphan_fraction("orphan_fraction", manifest.orphans, manifest.owned, limits, prefix=None),
        *(
            _orphan_fraction("prefix_orphan_fraction", figures.orphans, figures.inventory, limits, prefix=prefix)
            for prefix, figures in manifest.prefixes.items()
        ),
    ]


def tripped(gates: list[Gate], *, prefix: str | None = None) -> list[Gate]:
    """The bucket's gates that did not pass, and those of one prefix when it is named."""
    return [gate for gate in gates if not gate.passed and (gate.prefix is None or gate.prefix == prefix)]


def _inventory_not_empty(manifest: Manifest) -> Gate:
    objects = manifest.inventory.total.objects
    return Gate(
        name="inventory_not_empty",
        passed=objects > 0,
        found=objects,
        limit=1,
        message=f"the inventory holds {objects:,} objects"
        + ("" if objects else ": is this the right bucket, and may these credentials list it?"),
    )


def _sources_above_floor(manifest: Manifest, limits: GateLimits) -> Iterator[Gate]:
    # Limits can be newer than the sweep: a source that it did not read yielded nothing.
    for name, floor in limits.source_floors.items():
        match = manifest.source_matches.get(name)
        references = match.references if match else 0
        passed = references >= floor
        yield Gate(
            name="sources_above_floor",
            passed=passed,
            found=references,
            limit=floor,
            message=f"source {name} yields {references:,} references, expected at least {floor:,}"
            + ("" if passed else ": is it the right table and path, and has nobody emptied it?"),
        )


def _match_rates(manifest: Manifest, limits: GateLimits) -> Iterator[Gate]:
    for name, match in manifest.source_matches.items():
        passed = match.match_rate >= limits.min_match_rate
        yield Gate(
            name="match_rate",
            passed=passed,
            found=match.match_rate,
            limit=limits.min_match_rate,
            message=f"{match.match_rate:.1%} of the {match.references:,} references of source {name} have an object, "
            f"expected at least {limits.min_match_rate:.1%}"
            + ("" if passed else ": do its keys need stripping or decoding (setting `key`)? `orphan-pipeline check` shows some"),
        )


def _orphan_fraction(name: str, orphans: Amount, owned: Amount, limits: GateLimits, *, prefix: str | None) -> Gate:
    by_count = orphans.objects / owned.objects if owned.objects else 0.0
    by_bytes = orphans.bytes / owned.bytes if owned.bytes else 0.0
    worst = max(by_count, by_bytes)
    passed = worst <= limits.max_orphan_fraction
    where = "the owned objects" if prefix is None else prefix
    return Gate(
        name=name,
        passed=passed,
        found=worst,
        limit=limits.max_orphan_fraction,
        prefix=prefix,
        message=f"{by_count:.1%} of {where} by count and {by_bytes:.1%} by bytes are orphans, at most "
        f"{limits.max_orphan_fraction:.1%} is expected"
        + ("" if passed else ": is a source missing? If this is right, approve the sweep's digest"),
    )
