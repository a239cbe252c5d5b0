"""Which databases a deletion asks again: the primaries, and the very ones that its sweep read."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from sweep_files import publish

from orphan_pipeline.assets.guards import primaries
from orphan_pipeline.deletion.authorise import Authorised
from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.resources.databases import DatabaseResource


def test_the_primary_that_the_sweep_read_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: only its system_identifier was held against the sweep's, and that of a copy is the same."""
    manifest = publish(BucketLake(tmp_path / "media"), "one", orphans=["a/x"])
    authorised = cast(Authorised, SimpleNamespace(manifest=manifest))
    monkeypatch.setenv("APP_DATABASE_URL", "postgresql://h/d")
    monkeypatch.setenv("APP_REPLICA_URL", "postgresql://r/d")
    app = DatabaseResource(url_env="APP_DATABASE_URL", replica_env="APP_REPLICA_URL", system_identifier="1/5")
    asked = primaries({"app": app, "unused": DatabaseResource(url_env="APP_DATABASE_URL")}, authorised)
    assert (asked["app"].url, asked["app"].replica, asked["app"].system_identifier) == ("postgresql://h/d", None, "1/5")
    assert [asked["app"].swept] == list(manifest.references.cuts)
    assert asked["unused"].swept is None
