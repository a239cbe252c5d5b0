"""Every gate stands in the documentation with its limit, and what stands there exists."""

import re
from pathlib import Path

from orphan_pipeline.gates.gate import GATES, PREFIX_GATES
from orphan_pipeline.settings.safety import SafetySettings

PAGE = (Path(__file__).parents[3] / "docs" / "gates.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", PAGE, flags=re.MULTILINE))


def test_every_gate_is_documented_and_nothing_else() -> None:
    assert ROWS.keys() == GATES.keys()
    assert GATES.keys() > PREFIX_GATES


def test_every_limit_that_a_gate_names_is_a_setting_with_that_default() -> None:
    named = {limit: float(default) for limit, default in re.findall(r"`safety\.(\w+)` \(([0-9.]+)", "\n".join(ROWS.values()))}
    assert named == {limit: SafetySettings.model_fields[limit].default for limit in named}
    assert named.keys() == {name for name in SafetySettings.model_fields if name.startswith(("max_", "min_match"))}
