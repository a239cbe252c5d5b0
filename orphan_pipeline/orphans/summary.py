"""The one line that a sweep ends with: what can be deleted, or what somebody has to approve first, or when something first can be, and why
not before."""

from collections.abc import Mapping, Sequence

from orphan_pipeline.digests import shown
from orphan_pipeline.inventory.snapshot import Amount
from orphan_pipeline.orphans.acceptance import Closed
from orphan_pipeline.orphans.manifest import Manifest, total
from orphan_pipeline.orphans.pauses import refusal_line
from orphan_pipeline.wording import counted

BECAUSE = {
    "young": "the oldest orphans are younger than min_age (and multipart_grace) until then",
    "unconfirmed": "an orphan must be seen in as many sweeps as `confirmations` says, `confirmation_gap` apart",
}


def approval_command(digest: str) -> str:
    """What an operator types who finds that a tripped gate is right after all."""
    return f"orphan-pipeline approve {shown(digest)}"


def closing_line(manifest: Manifest, closed: Closed, spent: Mapping[str, str] | None = None) -> str:
    """`closed`: what nobody approved so far. `spent`: what became of the plans, by prefix, that delete no more."""
    spent = spent or {}
    if closed.pause is not None:
        waiting = f"{_amount(manifest, list(manifest.plans))} wait; " if manifest.plans else ""
        return waiting + refusal_line(closed.pause)
    partly = [source.name for source in manifest.references.sources if not source.full]
    if partly:
        sources = ", ".join(partly)
        return f"nothing is deletable after this sweep, because of {sources} only new rows were read; the next full read makes plans again"
    held_back = [prefix for prefix in closed.held_back if prefix not in spent]
    free = [prefix for prefix in manifest.plans if prefix not in held_back and prefix not in spent]
    lines = []
    if free:
        lines.append(f"deletable now: {_amount(manifest, free)}, {_in_prefixes(free)}")
    if held_back:
        names = dict.fromkeys(gate.name for prefix in held_back for gate in closed.plans[prefix])
        lines.append(f"{_amount(manifest, held_back)} wait for approval ({_gates(list(names))}): {approval_command(manifest.digest)}")
    if spent and not lines:
        lines.append("nothing is deletable before a new sweep")
    for state in dict.fromkeys(spent.values()):
        own = [prefix for prefix in spent if spent[prefix] == state]
        lines.append(f"{state}: {_amount(manifest, own)}, {_in_prefixes(own)}")
    if lines:
        return "; ".join(lines)
    if closed.bucket:
        names = dict.fromkeys(gate.name for gate in closed.bucket)
        lines.append(f"this sweep counts for nothing until it is approved ({_gates(list(names))}): {approval_command(manifest.digest)}")
    return "; ".join([*lines, _earliest(manifest)])


def _amount(manifest: Manifest, prefixes: Sequence[str]) -> str:
    amount: Amount = total(manifest.plans[prefix].amount for prefix in prefixes)
    return f"{counted(amount.objects, 'object')}, {counted(amount.bytes, 'byte')}"


def _in_prefixes(prefixes: Sequence[str]) -> str:
    return f"in {counted(len(prefixes), 'prefix', 'prefixes')}"


def _gates(names: Sequence[str]) -> str:
    return f"gate {names[0]}" if len(names) == 1 else f"gates {', '.join(names)}"


def _earliest(manifest: Manifest) -> str:
    if manifest.earliest is not None:
        return (
            f"earliest deletable: by a sweep after {manifest.earliest.at:%Y-%m-%d %H:%M:%S} UTC, because {BECAUSE[manifest.earliest.hold]}"
        )
    if manifest.orphans.objects:
        return "earliest deletable: never by itself, because every orphan is protected, was restored, or resembles a reference"
    return "earliest deletable: never, because there is no orphan under a declared prefix"
