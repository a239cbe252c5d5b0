"""Rule 4d: references that were not read in full make no plans, and confirm nothing."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sweep_files
from sweep_files import bucket_settings, publish

from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.orphans.acceptance import closed_gates, gates_of
from orphan_pipeline.orphans.summary import closing_line
from orphan_pipeline.references.figures import ReferenceFigures

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def test_references_that_were_not_read_in_full_make_no_plans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = BucketLake(tmp_path)
    settings = bucket_settings(safety={"confirmations": 2, "confirmation_gap": "1h", "max_orphan_fraction": 0.9})
    whole = sweep_files._reference_figures

    def partly(*about: Any) -> ReferenceFigures:
        figures = whole(*about)
        return replace(figures, sources=tuple(replace(source, full=False, sweeps_since_full=1) for source in figures.sources))

    first = publish(lake, "first", orphans=["a/gone"], started_at=NOON - 3 * DAY, settings=settings)
    monkeypatch.setattr(sweep_files, "_reference_figures", partly)
    second = publish(lake, "second", orphans=["a/gone"], started_at=NOON - 2 * DAY, settings=settings)
    # It would have been the second sighting.
    assert second.confirms == first.sweep_id
    assert second.plans == {}
    said = closing_line(second, closed_gates(lake, second, gates_of(lake, second, settings)))
    assert said == (
        "nothing is deletable after this sweep, because of documents only new rows were read; the next full read makes plans again"
    )
    monkeypatch.setattr(sweep_files, "_reference_figures", whole)
    third = publish(lake, "third", orphans=["a/gone"], started_at=NOON - DAY, settings=settings)
    assert third.confirms == first.sweep_id
    assert set(third.plans) == {"a/"}
