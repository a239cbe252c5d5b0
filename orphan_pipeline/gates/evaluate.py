"""What must be true before anything is deleted (rule 8). One pure function over a sweep's figures and the sweeps accepted before it; the
checks on `orphan_set` show its results, and `deleted_objects` asks it again, since a blocking check does not stop a later, separate run.

A tripped gate blocks until someone approves that sweep's digest, or one prefix's.
"""

from collections.abc import Sequence

from orphan_pipeline.gates.age_bands import age_gates
from orphan_pipeline.gates.figures import figure_gates
from orphan_pipeline.gates.gate import Gate, GateLimits
from orphan_pipeline.gates.history import History
from orphan_pipeline.gates.trends import trend_gates
from orphan_pipeline.orphans.manifest import Manifest


def evaluate(manifest: Manifest, limits: GateLimits, history: History) -> list[Gate]:
    """Every gate of the bucket and of each of its prefixes. Pure: the same figures, limits and past give the same answer."""
    return [*trend_gates(manifest, limits, history), *evaluate_alone(manifest, limits)]


def evaluate_alone(manifest: Manifest, limits: GateLimits) -> list[Gate]:
    """Without the gates that compare with other sweeps."""
    return [*figure_gates(manifest, limits), *age_gates(manifest, limits)]


def tripped(gates: Sequence[Gate], *, prefix: str | None = None) -> list[Gate]:
    """The bucket's gates that did not pass, and those of one prefix when it is named."""
    return [gate for gate in gates if not gate.passed and (gate.prefix is None or gate.prefix == prefix)]
