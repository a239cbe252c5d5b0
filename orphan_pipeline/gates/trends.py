"""The gates that hold a sweep against the accepted ones before it: whether there is one, whether the same sources of the same databases
were asked, and whether a source or the number of orphans is far from its trailing median. Medians are taken of what there is, from one
accepted sweep on."""

from collections.abc import Iterable, Iterator
from statistics import median
from typing import Any

from orphan_pipeline.gates.gate import Gate, GateLimits
from orphan_pipeline.gates.history import History
from orphan_pipeline.orphans.manifest import Manifest
from orphan_pipeline.references.figures import CutFigures
from orphan_pipeline.references.identity import unlike
from orphan_pipeline.wording import counted

FEW_ORPHANS = 100
"""A median below this counts as this much: three orphans in place of one are no alarm."""

DECIDES_NOT_WHAT_IS_READ = frozenset({"expect_rows_at_least", "system_identifier"})
"""A floor decides when to stop; and a pin which database must not be read: the one that was is looked at itself."""


def trend_gates(manifest: Manifest, limits: GateLimits, history: History) -> Iterator[Gate]:
    yield _baseline(history)
    yield _references_unchanged(manifest, history)
    yield from _source_shrink(manifest, limits, history)
    yield _orphan_growth(manifest, limits, history)


def _baseline(history: History) -> Gate:
    accepted = len(history.accepted)
    return Gate(
        name="baseline",
        passed=accepted > 0,
        found=accepted,
        limit=1,
        message=f"{counted(accepted, 'accepted sweep')} of this bucket before this one"
        if accepted
        else "no sweep of this bucket was accepted yet: look at the figures of this one (`orphan-pipeline plan`) and, if they are right, "
        "approve it once as the baseline",
    )


def _references_unchanged(manifest: Manifest, history: History) -> Gate:
    changed = sorted(_changed_sources(history.last.binding, manifest.binding)) if history.last else []
    others = list(_other_databases(history.last.references.cuts, manifest.references.cuts)) if history.last else []
    said = [
        *([f"the reference settings are not those of the last accepted sweep: {', '.join(changed)}"] if changed else ()),
        *([f"the databases are not as the last accepted sweep saw them: {'; '.join(others)}"] if others else ()),
    ]
    return Gate(
        name="references_unchanged",
        passed=not said,
        found=len(changed) + len(others),
        limit=0,
        message="; ".join(said) or "the reference settings and the databases are those of the last accepted sweep",
    )


def _other_databases(before: Iterable[CutFigures], now: Iterable[CutFigures]) -> Iterator[str]:
    """A variable that names a copy, or another database, changes no setting: what the copy does not know would look like orphans."""
    earlier = {cut.database: cut for cut in before}
    for cut in now:
        if cut.database in earlier and (why := unlike(earlier[cut.database], cut)) is not None:
            yield f"database {cut.database}: {why}"


def _changed_sources(before: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """What was added, removed or changed, by name."""
    old, new = _what_is_read(before), _what_is_read(now)
    yield from (f"{name} is new" for name in new.keys() - old.keys())
    yield from (f"{name} is gone" for name in old.keys() - new.keys())
    yield from (f"{name} was changed" for name in old.keys() & new.keys() if old[name] != new[name])


def _what_is_read(binding: dict[str, Any]) -> dict[str, Any]:
    named = {f"source {source['name']}": source for source in binding.get("references", ())}
    named |= {f"database {name}": database for name, database in binding.get("databases", {}).items()}
    return {
        what: {name: value for name, value in settings.items() if name not in DECIDES_NOT_WHAT_IS_READ} for what, settings in named.items()
    }


def _source_shrink(manifest: Manifest, limits: GateLimits, history: History) -> Iterator[Gate]:
    """Altinity s3gc: an empty reference table, and everything looked like an orphan. A half-empty one is no better."""
    sweeps = history.since_approved("source_shrink")
    for name, match in manifest.source_matches.items():
        past = [sweep.source_matches[name].references for sweep in sweeps if name in sweep.source_matches]
        usual = median(past) if past else 0.0
        floor = usual * (1 - limits.max_shrink)
        passed = match.references >= floor
        yield Gate(
            name="source_shrink",
            passed=passed,
            found=match.references,
            limit=floor,
            message=f"source {name} yields {match.references:,} references, "
            + (f"the median of {counted(len(past), 'sweep')} is {usual:,.0f}" if past else "and no accepted sweep to compare with")
            + ("" if passed else f", and at most {limits.max_shrink:.1%} less is expected: were rows lost, moved or archived?"),
        )


def _orphan_growth(manifest: Manifest, limits: GateLimits, history: History) -> Gate:
    """Mastodon 33948: ten times more was deleted than anybody expected."""
    past = [sweep.orphans.objects for sweep in history.since_approved("orphan_growth")]
    usual = median(past) if past else None
    found = manifest.orphans.objects
    limit = limits.max_growth * max(usual, FEW_ORPHANS) if usual is not None else float(found)
    passed = found <= limit
    return Gate(
        name="orphan_growth",
        passed=passed,
        found=found,
        limit=limit,
        message=f"{found:,} orphans, and no accepted sweep to compare with"
        if usual is None
        else f"{found:,} orphans, the median of {counted(len(past), 'sweep')} is {usual:,.0f}"
        + ("" if passed else f", and at most {limit:,.0f} are expected: is a source incomplete, or was much deleted in the application?"),
    )
