"""`memory_limit`: an amount with a unit, or one line that says so."""

from pathlib import Path

import pytest

from orphan_pipeline.errors import BadSettings
from orphan_pipeline.settings.load import load_settings

SETTINGS = """
lake: ./lake
memory_limit: {limit}
databases: {{app: {{url: {{env: APP_DATABASE_URL}}}}}}
buckets:
  media:
    bucket: acme-media
    prefixes: [uploads/]
    references: [{{name: live, database: app, sql: SELECT key FROM documents}}]
"""


def limit_of(folder: Path, limit: str) -> int | None:
    file = folder / "orphan_pipeline.yaml"
    file.write_text(SETTINGS.format(limit=limit))
    return load_settings(file).memory_limit


@pytest.mark.parametrize(("text", "size"), [("4GiB", 4 * 2**30), ("256MiB", 256 * 2**20), ("1TiB", 2**40)])
def test_an_amount_of_memory(tmp_path: Path, text: str, size: int) -> None:
    assert limit_of(tmp_path, text) == size


@pytest.mark.parametrize("text", ["4GB", "4 GiB", "half", "-1GiB", "true", "1.5GiB", "255MiB", "{env: X}"])
def test_no_amount_of_memory_is_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadSettings) as wrong:
        limit_of(tmp_path, text)
    [line] = wrong.value.lines
    assert "memory_limit: found" in line
    assert "expected" in line
