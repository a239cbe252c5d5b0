"""docs/lake.md says of every column what the code says of it, and of every path what lake/layout.py says."""

import re
from pathlib import Path

import pytest
from lake_tables import TABLES, table

from orphan_pipeline.lake import layout

DOCUMENT = (Path(layout.__file__).parents[2] / "docs" / "lake.md").read_text()


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_what_the_code_says(name: str) -> None:
    wanted = table(TABLES[name])
    assert f"\n{wanted}\n" in DOCUMENT, f"docs/lake.md must hold:\n{wanted}"


def test_no_other_columns_are_documented() -> None:
    documented = [line for line in DOCUMENT.splitlines() if re.match(r"\| [a-z_]+ \|", line)]
    known = {line for schema in TABLES.values() for line in table(schema).splitlines()}
    assert sorted(set(documented) - known) == []


def _places(text: str) -> set[str]:
    """What stands in one bucket's lake: its folders and files without a folder."""
    return {found.split("/")[0] for found in re.findall(r"^ {4}\{bucket\}/(\S+)", text, re.MULTILINE)}


def test_the_places_are_those_of_the_layout() -> None:
    assert layout.__doc__ is not None
    assert len(_places(layout.__doc__)) > 10
    assert _places(DOCUMENT) == _places(layout.__doc__)
    assert [stage for stage in layout.STAGES if f"{{sweep_id}}/{stage}/" not in DOCUMENT] == []
