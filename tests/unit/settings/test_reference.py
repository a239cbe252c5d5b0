"""docs/settings.md says what the model says."""

from pathlib import Path

from pydantic import BaseModel

from orphan_pipeline.settings.model import Settings
from orphan_pipeline.settings.reference import reference
from orphan_pipeline.settings.shape import Spot, field_spot, fields

DOCUMENT = Path(__file__).parents[3] / "docs" / "settings.md"


def _models(spot: Spot) -> set[type[BaseModel]]:
    found = set(spot.models())
    below = [field_spot(field) for model in found for field in fields(model).values()]
    item = spot.item()
    return found.union(*(_models(part) for part in [*below, *([item] if item else [])]))


def test_the_document_is_what_the_model_gives() -> None:
    made_by = "python -m orphan_pipeline.settings.reference > docs/settings.md"
    assert DOCUMENT.read_text(encoding="utf-8") == reference(), f"out of date: {made_by}"


def test_every_setting_has_a_meaning_and_a_row() -> None:
    models = _models(Spot(Settings))
    assert len(models) == 16
    for model in models:
        for name, field in fields(model).items():
            assert field.description, (model, name)
            assert f"| {field.description.replace('|', chr(92) + '|')} |" in reference()
