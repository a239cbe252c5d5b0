"""The file that `init` writes."""

import re
from pathlib import Path

from orphan_pipeline.settings.load import load_settings, template
from orphan_pipeline.settings.model import Settings
from orphan_pipeline.settings.shape import Spot, field_spot, fields


def _names(spot: Spot) -> set[str]:
    below = [spot.item()] if spot.item() else []
    found: set[str] = set()
    for model in spot.models():
        found |= set(fields(model))
        below += [field_spot(field) for field in fields(model).values()]
    return found.union(*(_names(item) for item in below if item))


def test_it_validates_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "orphan_pipeline.yaml"
    path.write_text(template(), encoding="utf-8")
    settings = load_settings(path)
    assert settings.warnings() == ()
    assert settings.lake == tmp_path / "lake"


def test_every_setting_stands_in_it() -> None:
    missing = {name for name in _names(Spot(Settings)) if not re.search(rf"\b{name}\b", template())}
    assert not missing


def test_what_does_not_exist_yet_is_marked() -> None:
    for name in ("notifications",):
        before = template()[: template().index(f"# {name}:")]
        assert "(later)" in "\n".join(before.splitlines()[-6:])


def test_what_it_shows_as_default_is_the_default(tmp_path: Path) -> None:
    path = tmp_path / "orphan_pipeline.yaml"
    path.write_text(template(), encoding="utf-8")
    bucket = load_settings(path).buckets["media"]
    assert bucket.safety == type(bucket.safety)()
    assert bucket.deletion == type(bucket.deletion)()
