"""The tables of docs/lake.md as the code has them: every schema that the lake holds, column by column."""

import pyarrow as pa

from orphan_pipeline.deletion.ledger import LEDGER
from orphan_pipeline.deletion.quarantine.purge import PURGED
from orphan_pipeline.deletion.undo.releases import RELEASED
from orphan_pipeline.inventory.columns import LISTED
from orphan_pipeline.inventory.snapshot import INVENTORY
from orphan_pipeline.lake.columns import meaning_of
from orphan_pipeline.orphans.dangling import DANGLING
from orphan_pipeline.orphans.files import HOLDS, PLAN
from orphan_pipeline.orphans.forms import FORMS
from orphan_pipeline.orphans.pauses import MISSED
from orphan_pipeline.references.schema import REFERENCES

TABLES = {
    "inventory": INVENTORY,
    "references": REFERENCES,
    "dangling": DANGLING,
    "plan": PLAN,
    "holds": HOLDS,
    "unowned": LISTED,
    "forms": FORMS,
    "ledger": LEDGER,
    "released": RELEASED,
    "purged": PURGED,
    "missed": MISSED,
}


def table(schema: "pa.Schema") -> str:
    """As it must stand in the document."""
    rows = [f"| {field.name} | {_type(field.type)} | {'yes' if field.nullable else ''} | {meaning_of(field)} |" for field in schema]
    return "\n".join(["| column | type | may be null | meaning |", "|---|---|---|---|", *rows])


def _type(kind: "pa.DataType") -> str:
    if pa.types.is_timestamp(kind):
        return "timestamp"
    return f"dictionary of {kind.value_type}" if pa.types.is_dictionary(kind) else str(kind)
