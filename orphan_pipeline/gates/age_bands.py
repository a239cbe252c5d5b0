"""The gate on bands of ages. Rows go away, so in a sound bucket older objects are orphaned rather more often than younger ones. Where a
younger band stands out, its references are missing: a source that was forgotten when it was introduced, or one that is read from a
stale copy, shows there first, long before it shows in the whole."""

from collections.abc import Iterator, Mapping, Sequence

from orphan_pipeline.gates.gate import Gate, GateLimits
from orphan_pipeline.inventory.snapshot import Amount
from orphan_pipeline.orphans.ages import BANDS
from orphan_pipeline.orphans.manifest import AgeBand, Manifest, total

FEWEST = 100
"""Objects that a band, and all that is older, must have to be compared: of ten objects three are soon orphaned."""

NOTHING = AgeBand(inventory=Amount(0, 0), orphans=Amount(0, 0))


def age_gates(manifest: Manifest, limits: GateLimits) -> Iterator[Gate]:
    """Of the bucket first, then of each prefix."""
    yield _age_gate("age_bands", manifest.ages, limits, prefix=None)
    for prefix, figures in manifest.prefixes.items():
        yield _age_gate("prefix_age_bands", figures.ages, limits, prefix=prefix)


def _age_gate(name: str, ages: Mapping[str, AgeBand], limits: GateLimits, *, prefix: str | None) -> Gate:
    """The band that stands out most. What is young (younger than the cutoff) is left out: it may well not be referenced yet, and cannot
    be deleted."""
    bands = [(band.name, ages.get(band.name, NOTHING)) for band in BANDS]
    found = []
    for n, (label, band) in enumerate(bands):
        older = _of(bands[n + 1 :])
        if band.inventory.objects >= FEWEST and older.inventory.objects >= FEWEST:
            found.append((max(0.0, _share(band) - _share(older)), label, band, older))
    where = "" if prefix is None else f" of {prefix}"
    if not found:
        message = f"too few objects{where} to compare ages (fewer than {FEWEST} in every band, or older than it)"
        return Gate(name=name, passed=True, found=0.0, limit=limits.max_age_band_excess, prefix=prefix, message=message)
    excess, label, band, older = max(found, key=lambda one: one[0])
    passed = excess <= limits.max_age_band_excess
    return Gate(
        name=name,
        passed=passed,
        found=excess,
        limit=limits.max_age_band_excess,
        prefix=prefix,
        message=f"{_share(band):.1%} of the objects{where} that are {label} old are orphans, and {_share(older):.1%} of the older ones: "
        f"at most {limits.max_age_band_excess:.1%} more is expected"
        + ("" if passed else ": is a source missing that came into use in that time, or is one read from a stale copy?"),
    )


def _of(bands: Sequence[tuple[str, AgeBand]]) -> AgeBand:
    return AgeBand(inventory=total(band.inventory for _, band in bands), orphans=total(band.orphans for _, band in bands))


def _share(band: AgeBand) -> float:
    return band.orphans.objects / band.inventory.objects
