"""How old the objects and the orphans of a sweep are: counts and bytes by prefix and band, and the orphans by storage class. Ages are at
the sweep's start. Read from the snapshots that lie in the lake, so that it does not matter how the orphan set was computed."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from orphan_pipeline.duck import duck, rows
from orphan_pipeline.inventory.snapshot import Amount
from orphan_pipeline.lake.layout import SweepFolder, prefix_folder
from orphan_pipeline.orphans import queries
from orphan_pipeline.orphans.manifest import AgeBand

YOUNG = "young"
"""Not before the cutoff, whatever its age: held by rule 2."""


@dataclass(frozen=True, slots=True)
class Band:
    """`name` completes "objects that are … old"; `days` is where the band ends, None for the last."""

    name: str
    days: int | None


BANDS = (
    Band("up to 1 day", 1),
    Band("1 to 7 days", 7),
    Band("7 to 30 days", 30),
    Band("30 to 90 days", 90),
    Band("90 to 180 days", 180),
    Band("180 to 365 days", 365),
    Band("1 to 2 years", 730),
    Band("2 to 5 years", 1826),
    Band("over 5 years", None),
)
"""The youngest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgeFigures:
    """`by_prefix`: bands that are not empty. `storage_classes`: of the orphans under declared prefixes."""

    by_prefix: dict[str, dict[str, AgeBand]]
    storage_classes: dict[str, Amount]


NOTHING = Amount(0, 0)


def measure_ages(sweep: SweepFolder, orphans: Path, *, prefixes: list[str], cutoff: datetime, sweep_at: datetime) -> AgeFigures:
    """One pass over the inventory's dates and sizes and one over the orphans'. `orphans`: the folder with a folder a prefix, which need
    not have its final name yet."""
    band, edges = _band_expression(sweep_at)
    parameters = {**edges, "cutoff": cutoff}
    with duck(orphans) as connection:
        connection.read_parquet(sweep.parquet("inventory")).create_view("inventory")
        inventory = _by_band(rows(connection, queries.INVENTORY_BY_AGE.format(band=band), parameters))
        files = sorted(str(path) for path in orphans.rglob("*.parquet"))
        if not files:
            by_age, by_class = [], []
        else:
            owners = {prefix_folder(prefix): prefix for prefix in prefixes}
            found = rows(connection, queries.ORPHANS_BY_AGE.format(band=band), {**parameters, "files": files})
            by_age = [(owners[folder], *rest) for folder, *rest in found]
            by_class = rows(connection, queries.ORPHANS_BY_CLASS, {"files": files})
    orphaned = _by_band(by_age)
    return AgeFigures(
        by_prefix={
            prefix: {name: AgeBand(inventory=amount, orphans=orphaned.get(prefix, {}).get(name, NOTHING)) for name, amount in bands.items()}
            for prefix, bands in inventory.items()
        },
        storage_classes={name: Amount(objects, size) for name, objects, size in by_class},
    )


def _band_expression(sweep_at: datetime) -> tuple[str, dict[str, datetime]]:
    """The name of an object's band, in SQL over `last_modified`, and its parameters: the moments that divide the bands."""
    edges = {f"edge_{n}": sweep_at - timedelta(days=band.days) for n, band in enumerate(BANDS) if band.days is not None}
    names = [band.name for band in BANDS]
    whens = "".join(f" WHEN last_modified > ${edge} THEN '{names[n]}'" for n, edge in enumerate(edges))
    return f"CASE WHEN last_modified >= $cutoff THEN '{YOUNG}'{whens} ELSE '{names[-1]}' END", edges


def _by_band(found: list[tuple[str, str, int, int]]) -> dict[str, dict[str, Amount]]:
    by_prefix: dict[str, dict[str, Amount]] = {}
    for prefix, band, objects, size in found:
        by_prefix.setdefault(prefix, {})[band] = Amount(objects, size)
    return by_prefix
