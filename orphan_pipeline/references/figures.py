"""What the reference stage writes down about itself, beside the references. How they are read belongs in `snapshot`."""

from dataclasses import dataclass
from datetime import datetime

from orphan_pipeline.references.kinds.files import FileFigures


@dataclass(frozen=True, slots=True, kw_only=True)
class CutFigures:
    """When and where a database was frozen. `snapshot_at` is by its own clock (the replica's, if it was read there) and
    `host_snapshot_at` by this host's; both lie just before the snapshot. `database_oid` and `timeline` are None in the figures of earlier
    releases, `timeline` also where the server does not tell it."""

    database: str
    snapshot_at: datetime
    host_snapshot_at: datetime
    system_identifier: str
    snapshot: str
    lsn: str
    server_version: str
    from_replica: bool = False
    database_oid: int | None = None
    timeline: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFigures:
    """`rows` were read, `without_key` of them yield none; `references` were found in the others, `derived` are the
    variants' keys. `received` are bytes of the database's answers. `foreign` values were passed over, since the settings excuse them.
    `globs` are the variants' templates with a `*`: what they match for one of this source's keys is in use too. Of the references,
    `distinct_keys_about` are different keys, give or take a few in a hundred, and `outside_prefixes` lie under no declared prefix; None in
    the figures of sweeps that did not look.

    Unless it was read in `full`, its figures are the last sweep's and those of the rows that are new since, together. `greatest` is the
    greatest id so far, of a source that only grows; `declared` a digest of the source's settings."""

    name: str
    database: str
    rows: int
    references: int
    derived: int
    without_key: int
    seconds: float
    received: int = 0
    foreign: int = 0
    globs: tuple[str, ...] = ()
    distinct_keys_about: int | None = None
    outside_prefixes: int | None = None
    full: bool = True
    sweeps_since_full: int = 0
    greatest: str | None = None
    declared: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceFigures:
    """What the reference stage wrote down. `snapshot_at` is the earliest of the cuts', or the start of the stage where there are none;
    `ended_at` by this host's clock."""

    inventory_started_at: datetime
    snapshot_at: datetime
    cuts: tuple[CutFigures, ...]
    sources: tuple[SourceFigures, ...]
    ended_at: datetime | None = None
    files: tuple[FileFigures, ...] = ()

    @property
    def full(self) -> bool:
        """Whether every source was read in full: only such references make plans (rule 4d)."""
        return all(source.full for source in self.sources)
