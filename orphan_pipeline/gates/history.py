"""The sweeps before the one that is judged, as far as they count: those that were accepted, because they passed or because somebody
approved them. Which ones those are is found out in orphans/acceptance.py; this is only what the gates look at."""

from dataclasses import dataclass

from orphan_pipeline.orphans.manifest import Manifest

SWEEPS = 14
"""Over how many accepted sweeps a trailing median goes: two weeks of nights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A sweep that passed its gates, or whose tripped gates (`overridden`, by name) somebody approved."""

    manifest: Manifest
    overridden: frozenset[str]


@dataclass(frozen=True, slots=True)
class History:
    """The last accepted sweeps of the same bucket, at most SWEEPS, the oldest first."""

    accepted: tuple[Accepted, ...] = ()

    @property
    def last(self) -> Manifest | None:
        return self.accepted[-1].manifest if self.accepted else None

    def since_approved(self, gate: str) -> tuple[Manifest, ...]:
        """The sweeps since somebody approved this gate, that one included: what was approved is the new normal. Else the same approval
        would be asked for night after night, until the median follows, and people stop reading what they approve."""
        first = max((n for n, one in enumerate(self.accepted) if gate in one.overridden), default=0)
        return tuple(one.manifest for one in self.accepted[first:])
