"""The gates that look at one sweep's own figures: its inventory, its sources, and how much of it is orphaned."""

from collections.abc import Iterator

from orphan_pipeline.gates.gate import Gate, GateLimits
from orphan_pipeline.inventory.snapshot import Amount
from orphan_pipeline.orphans.manifest import Manifest, PrefixFigures


def figure_gates(manifest: Manifest, limits: GateLimits) -> Iterator[Gate]:
    """Of the bucket first, then of each prefix."""
    yield _inventory_not_empty(manifest)
    yield from _sources_above_floor(manifest, limits)
    yield from _match_rates(manifest, limits)
    yield _orphan_fraction("orphan_fraction", manifest.orphans, manifest.owned, limits, prefix=None)
    yield _nothing_missed(manifest)
    for prefix, figures in manifest.prefixes.items():
        yield _orphan_fraction("prefix_orphan_fraction", figures.orphans, figures.inventory, limits, prefix=prefix)
        yield _prefix_without_references(prefix, figures)


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
    """Rows, as the setting says; and one reference at least, whatever it says: a source whose rows all stand there, with their arrays
    emptied, names nothing any more."""
    # Limits can be newer than the sweep: of a source that it did not read it has no rows.
    read = {source.name: source for source in manifest.references.sources}
    for name, floor in limits.source_floors.items():
        rows = read[name].rows if name in read else 0
        references = read[name].references if name in read else 0
        enough = rows >= floor
        said = f"source {name} has {rows:,} rows, expected at least {floor:,}, and yields {references:,} references"
        if not enough:
            said += ": is it the right table or file, and has nobody emptied it?"
        elif not references:
            said += ", expected at least 1: is it the right column and path, and has nobody emptied its values?"
        yield Gate(
            name="sources_above_floor",
            passed=enough and references > 0,
            found=rows if references or not enough else 0,
            limit=floor,
            message=said,
        )


def _match_rates(manifest: Manifest, limits: GateLimits) -> Iterator[Gate]:
    for name, match in manifest.source_matches.items():
        passed = match.match_rate >= limits.min_match_rate
        of_keys = "" if match.of_keys is None else f", and {match.of_keys:.1%} of its different keys (about {match.keys:,})"
        yield Gate(
            name="match_rate",
            passed=passed,
            found=match.match_rate,
            limit=limits.min_match_rate,
            message=f"{match.of_rows:.1%} of the {match.references:,} references of source {name} have an object{of_keys}, "
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
        f"{limits.max_orphan_fraction:.1%} is expected" + ("" if passed else ": is a source missing?"),
    )


def _prefix_without_references(prefix: str, figures: PrefixFigures) -> Gate:
    """GitLab MR 81022: another owner kept its files under the same prefix, in a database that nobody asked."""
    objects = figures.inventory.objects
    referenced = objects - figures.orphans.objects
    passed = referenced > 0 or not objects
    return Gate(
        name="prefix_without_references",
        passed=passed,
        found=referenced,
        limit=min(1, objects),
        prefix=prefix,
        message=f"{referenced:,} of the {objects:,} objects of {prefix} are referenced"
        + ("" if passed else ": does it belong to another application, or to a source that is missing here?"),
    )


def _nothing_missed(manifest: Manifest) -> Gate:
    """Rule 15. The pause that stands for it is lifted apart from this gate: it holds back the plans of every sweep."""
    dangling = manifest.dangling
    sample = ", ".join(repr(key) for key in dangling.missed_sample)
    return Gate(
        name="nothing_missed",
        passed=not dangling.missed,
        found=dangling.missed,
        limit=0,
        message="no row points at a key that was deleted from here"
        if not dangling.missed
        else f"{dangling.missed:,} references point at keys that were deleted from here, such as {sample}: deletion is paused; bring "
        "them back with orphan-pipeline restore --key KEY, and find the source that did not name them",
    )
