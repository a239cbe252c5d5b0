"""Settings that are edited in the middle of a sweep: what was made by the old ones never comes into a plan of the new ones."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sweep_files import DATABASES, DAY, NOON, bucket_settings, listed, publish, take_inventory

from orphan_pipeline.errors import Refused
from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.orphans.binding import MADE_BY, binding, inventory_binding, references_binding
from orphan_pipeline.settings.model import BucketSettings, DatabaseSettings

OTHER_SQL = [{"name": "documents", "database": "app", "sql": "SELECT key FROM documents UNION ALL SELECT key FROM archive"}]
NOW = datetime.now(UTC)


@pytest.fixture
def lake(tmp_path: Path) -> BucketLake:
    return BucketLake(tmp_path / "media")


def inventory(lake: BucketLake, settings: BucketSettings | None = None) -> None:
    objects = [listed(["a/orphan", "a/kept", "b/kept"], last_modified=NOON - 100 * DAY)]
    take_inventory(lake.sweep("s1"), objects, at=NOW, settings=settings or bucket_settings())


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"prefixes": ["b/"]}, "prefixes"),
        ({"prefixes": [{"path": "a/", "split": 1}, "b/"]}, "prefixes"),
        ({"bucket": "acme-other"}, "bucket"),
        ({"endpoint": "http://other.example"}, "endpoint"),
        ({"inventory": {"versions": True}}, "inventory.versions"),
    ],
)
def test_an_inventory_of_other_settings_is_refused(lake: BucketLake, changed: dict[str, Any], named: str) -> None:
    """Its prefixes would be planned although they are no longer declared, its keys deleted in another bucket."""
    inventory(lake)
    with pytest.raises(
        Refused, match=rf"^sweep s1: its inventory snapshot was made under other settings \({named} changed since\): launch"
    ):
        publish(lake, "s1", inventory=False, referenced=["a/kept", "b/kept"], started_at=NOW, settings=bucket_settings(**changed))
    assert not lake.sweep("s1").published


def test_references_that_were_read_by_other_settings_are_refused(lake: BucketLake) -> None:
    inventory(lake)
    new = bucket_settings(references=OTHER_SQL)
    with pytest.raises(Refused, match=r"^sweep s1: its references snapshot was made under other settings \(references changed since\)"):
        publish(lake, "s1", inventory=False, started_at=NOW, settings=new, read_by=bucket_settings())


def test_sources_may_be_corrected_over_an_inventory_that_is_there(lake: BucketLake) -> None:
    """A reference that does not parse fails the sweep; its inventory, hours of listing perhaps, is as good as it was."""
    inventory(lake)
    new = bucket_settings(references=OTHER_SQL, inventory={"concurrency": 3}, safety={"confirmations": 1, "max_orphan_fraction": 0.9})
    made = publish(lake, "s1", inventory=False, started_at=NOW, settings=new)
    assert made.binding == binding(new, DATABASES)


def test_a_snapshot_that_does_not_say_what_it_was_made_by_is_refused(lake: BucketLake) -> None:
    """One that an earlier release began."""
    inventory(lake)
    (lake.sweep("s1").stage("inventory") / MADE_BY).unlink()
    with pytest.raises(Refused, match=r"its inventory snapshot was made under other settings \(it does not say which\)"):
        publish(lake, "s1", inventory=False, started_at=NOW)


def test_a_plan_expires_by_the_age_of_its_references_not_of_its_manifest(lake: BucketLake) -> None:
    """A run that failed at its last stage may be run again weeks later."""
    began = NOW - timedelta(days=30)
    made = publish(lake, "s1", orphans=["a/orphan"], started_at=began)
    assert made.published_at > NOW
    assert made.expires_at == made.references.snapshot_at + bucket_settings().safety.plan_expiry
    assert made.expires_at < NOW


def test_the_parts_of_a_binding_are_the_whole_of_it() -> None:
    settings = bucket_settings(references=[*OTHER_SQL, {"name": "more", "database": "second", "sql": "SELECT 1"}])
    databases = {**DATABASES, "second": DatabaseSettings.model_validate({"url": {"env": "SECOND"}})}
    whole, parts = binding(settings, databases), {**inventory_binding(settings), **references_binding(settings, databases)}
    assert whole == {**parts, "protect": [], "safety": settings.safety.model_dump(mode="json")}
