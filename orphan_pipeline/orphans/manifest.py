"""What one sweep wrote down about itself: its figures, its plans and their digests. Read by gates, deletion, the command line.
The manifest is written last and once; a sweep without it does not exist."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from orphan_pipeline.errors import Refused
from orphan_pipeline.inventory.snapshot import Amount, InventoryFigures
from orphan_pipeline.lake.files import read_document
from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.references.snapshot import ReferenceFigures

MANIFEST_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class DanglingFigures:
    """References without an object, by source (derived keys not counted: a thumbnail need not exist); `keys` are the different keys among
    them, None in the figures of sweeps that did not count them. `missed` of all references, derived ones too, are keys that we ourselves
    deleted (rule 15); `pause` is then the digest of the pause that stands for them."""

    sources: dict[str, int]
    missed: int = 0
    missed_sample: tuple[str, ...] = ()
    pause: str | None = None
    keys: dict[str, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceMatch:
    """Which share of the source's references has its object in the inventory: by rows, and by different keys, of which there are about
    `keys` (an estimate; None where a sweep did not look). Either alone hides something: a thousand rows that name one default picture
    that is there, or a thousand that name one that is not."""

    references: int
    dangling: int
    keys: int | None = None
    dangling_keys: int | None = None

    @property
    def match_rate(self) -> float:
        """The worse of the two."""
        return min(self.of_rows, 1.0 if self.of_keys is None else self.of_keys)

    @property
    def of_rows(self) -> float:
        return 1.0 if not self.references else (self.references - self.dangling) / self.references

    @property
    def of_keys(self) -> float | None:
        if self.keys is None or self.dangling_keys is None:
            return None
        keys = min(max(self.keys, self.dangling_keys), self.references)
        return 1.0 if not keys else (keys - self.dangling_keys) / keys


def source_matches(references: ReferenceFigures, dangling: DanglingFigures) -> dict[str, SourceMatch]:
    return {
        source.name: SourceMatch(
            references=source.references,
            dangling=dangling.sources.get(source.name, 0),
            keys=source.distinct_keys_about,
            dangling_keys=None if dangling.keys is None else dangling.keys.get(source.name, 0),
        )
        for source in references.sources
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanEntry:
    """One prefix's plan. `file` is relative to the sweep's folder; `sha256` is of its bytes, so an edited plan shows."""

    prefix: str
    digest: str
    file: str
    sha256: str
    chunks: int
    amount: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class AgeBand:
    """What lies in one band of ages (orphans/ages.py names them): all objects, and the orphans among them."""

    inventory: Amount
    orphans: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixFigures:
    """`holds` by reason; what is neither referenced nor held is in `deletable`. `ages` holds the bands that are not empty."""

    inventory: Amount
    holds: dict[str, Amount]
    deletable: Amount
    ages: dict[str, AgeBand] = field(default_factory=dict)

    @property
    def orphans(self) -> Amount:
        return total([self.deletable, *self.holds.values()])


@dataclass(frozen=True, slots=True, kw_only=True)
class Earliest:
    """When the first hold ends by itself, and which hold it is that lasts until then: an orphan can be too young now and be
    waiting for its confirmation when it is no longer."""

    at: datetime
    hold: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """`binding` is everything that decides what is deleted (rule 9); `tripped` names the bucket's gates that did not pass when the sweep
    was published, by the limits of that time; `storage_classes` is of the orphans under declared prefixes; `digest` covers all of it
    and every plan. `flags` say in words which protection the settings had lowered (rule 2)."""

    version: int
    sweep_id: str
    bucket: str
    cutoff: datetime
    published_at: datetime
    expires_at: datetime
    inventory: InventoryFigures
    references: ReferenceFigures
    dangling: DanglingFigures
    prefixes: dict[str, PrefixFigures]
    unowned: Amount
    plans: dict[str, PlanEntry]
    earliest: Earliest | None
    confirms: str | None
    tripped: tuple[str, ...]
    binding: dict[str, Any]
    digest: str
    storage_classes: dict[str, Amount] = field(default_factory=dict)
    flags: tuple[str, ...] = ()

    @property
    def place(self) -> tuple[datetime, datetime, datetime]:
        """Sorts sweeps by when they looked: one that was slow, or read an older report, is no newer evidence because it ended later."""
        return self.inventory.started_at, self.references.snapshot_at, self.published_at

    @property
    def store(self) -> tuple[Any, Any]:
        """The real bucket. A name of the settings can be given to another one, whose past is then not this one's."""
        return self.binding.get("bucket"), self.binding.get("endpoint")

    @property
    def source_matches(self) -> dict[str, SourceMatch]:
        return source_matches(self.references, self.dangling)

    @property
    def deletable(self) -> Amount:
        return total(figures.deletable for figures in self.prefixes.values())

    @property
    def orphans(self) -> Amount:
        return total(figures.orphans for figures in self.prefixes.values())

    @property
    def holds(self) -> dict[str, Amount]:
        """By reason, over all prefixes."""
        reasons = sorted({reason for figures in self.prefixes.values() for reason in figures.holds})
        return {reason: total(figures.holds[reason] for figures in self.prefixes.values() if reason in figures.holds) for reason in reasons}

    @property
    def owned(self) -> Amount:
        return total(figures.inventory for figures in self.prefixes.values())

    @property
    def ages(self) -> dict[str, AgeBand]:
        """By band, over all prefixes."""
        by_band: dict[str, list[AgeBand]] = {}
        for figures in self.prefixes.values():
            for name, band in figures.ages.items():
                by_band.setdefault(name, []).append(band)
        return {
            name: AgeBand(inventory=total(b.inventory for b in bands), orphans=total(b.orphans for b in bands))
            for name, bands in by_band.items()
        }


def total(amounts: Iterable[Amount]) -> Amount:
    listed = list(amounts)
    return Amount(sum(a.objects for a in listed), sum(a.bytes for a in listed))


def read_manifests(lake: BucketLake) -> list[Manifest]:
    """All published sweeps of the bucket, the one that looked last comes last. Raises Refused for a manifest of another version."""
    manifests = [read_document(sweep.manifest, Manifest) for sweep in lake.published_sweeps()]
    for manifest in manifests:
        if manifest.version != MANIFEST_VERSION:
            raise Refused(
                f"the manifest of sweep {manifest.sweep_id} is of version {manifest.version}, expected {MANIFEST_VERSION}: "
                "it was written by another release"
            )
    return sorted(manifests, key=lambda m: m.place)


def latest_manifest(lake: BucketLake) -> Manifest | None:
    manifests = read_manifests(lake)
    return manifests[-1] if manifests else None
