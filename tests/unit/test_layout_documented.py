"""CONTRIBUTING.md's table of the layout names everything that stands at the top of the package, and beside it."""

from pathlib import Path

import orphan_pipeline

PACKAGE = Path(orphan_pipeline.__file__).parent
TABLE = (PACKAGE.parent / "CONTRIBUTING.md").read_text().partition("## The layout")[2].partition("## ")[0]


def test_the_layout_names_every_folder_and_module() -> None:
    folders = [f"{path.name}/" for path in (*PACKAGE.iterdir(), PACKAGE.parent / "benchmarks", PACKAGE.parent / "tests") if path.is_dir()]
    modules = [path.name for path in PACKAGE.glob("*.py") if path.name != "__init__.py"]
    named = [name for name in (*folders, *modules) if name != "__pycache__/"]
    assert len(named) > 15
    assert sorted(name for name in named if f"`{name}`" not in TABLE) == []
