"""The gates as asset checks on `orphan_set`: one check a gate, whichever number of sources or prefixes it is asked of, with the worst
of them told first. A thousand prefixes are no thousand checks."""

from collections.abc import Sequence

import dagster as dg

from orphan_pipeline.gates.gate import GATES, PREFIX_GATES, Gate
from orphan_pipeline.orphans.manifest import Manifest
from orphan_pipeline.orphans.summary import approval_command

TOLD = 3
MOST_ROWS = 100
"""Of a table in the metadata: all of it stands in `orphan-pipeline plan --json`."""


def check_specs(orphan_set: dg.AssetKey) -> list[dg.AssetCheckSpec]:
    """Gates of the bucket are blocking; those of one prefix must not be, since one failing blocking check fails the whole sweep."""
    return [
        dg.AssetCheckSpec(gate, asset=orphan_set, description=meaning, blocking=gate not in PREFIX_GATES) for gate, meaning in GATES.items()
    ]


def check_results(manifest: Manifest, gates: Sequence[Gate]) -> list[dg.AssetCheckResult]:
    """One result for each gate there is."""
    return [_check_result(manifest, name, [gate for gate in gates if gate.name == name]) for name in GATES]


def _check_result(manifest: Manifest, name: str, gates: list[Gate]) -> dg.AssetCheckResult:
    tripped = sorted((gate for gate in gates if not gate.passed), key=lambda gate: gate.distance, reverse=True)
    told = tripped or gates
    # As numbers of their own, since the UI draws those over the sweeps; of several gates the worst, or the first where all passed.
    plotted = {"found": round(told[0].found, 6), "limit": round(told[0].limit, 6)} if told else {}
    return dg.AssetCheckResult(
        check_name=name,
        passed=not tripped,
        severity=dg.AssetCheckSeverity.WARN if name in PREFIX_GATES else dg.AssetCheckSeverity.ERROR,
        description=_description(manifest, name, gates, tripped),
        metadata={
            **plotted,
            **({"if_this_is_right": approval_command(manifest.digest)} if tripped else {}),
            **({"tripped": f"{len(tripped):,} of {len(gates):,}"} if len(gates) > 1 else {}),
            "gates": _table([*tripped, *(gate for gate in gates if gate.passed)][:MOST_ROWS]),
        },
    )


def _description(manifest: Manifest, name: str, gates: list[Gate], tripped: list[Gate]) -> str:
    """What was found, and what to do; the worst first."""
    if not gates:
        return "nothing to compare"
    if not tripped:
        return gates[0].message if len(gates) == 1 else f"all {len(gates):,} passed; {gates[0].message}"
    several = f"{len(tripped):,} of {len(gates):,} tripped: " if len(gates) > 1 else ""
    more = f"; and {len(tripped) - TOLD:,} more" if len(tripped) > TOLD else ""
    told = "; ".join(gate.message for gate in tripped[:TOLD])
    blocks = "Those prefixes are not deleted" if name in PREFIX_GATES else "Nothing is deleted"
    return f"{several}{told}{more}. {blocks}; if this is right: `{approval_command(manifest.digest)}`"


def _table(gates: Sequence[Gate]) -> dg.MetadataValue:
    columns = {"passed": "bool", "found": "float", "limit": "float", "message": "string"}
    if any(gate.prefix is not None for gate in gates):
        columns = {"prefix": "string", **columns}
    rows: list[dict[str, str | float | bool]] = [
        {
            "prefix": gate.prefix or "",
            "passed": gate.passed,
            "found": round(gate.found, 6),
            "limit": round(gate.limit, 6),
            "message": gate.message,
        }
        for gate in gates
    ]
    return dg.MetadataValue.table(
        [dg.TableRecord({name: row[name] for name in columns}) for row in rows],
        schema=dg.TableSchema([dg.TableColumn(name, kind) for name, kind in columns.items()]),
    )
