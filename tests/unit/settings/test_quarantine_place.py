"""Where a quarantine may lie, and which keys in it are whose copies."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from orphan_pipeline.deletion.quarantine.place import LONGEST_KEY, Place, Quarantine, remember, remembered
from orphan_pipeline.lake.layout import Lake
from orphan_pipeline.orphans.publish import own_prefixes
from orphan_pipeline.settings.model import Settings

KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=1024).filter(lambda key: len(key.encode()) <= LONGEST_KEY)


def settings(quarantine: str, *, prefixes: tuple[str, ...] = ("uploads/",), mode: str = "quarantine") -> Settings:
    references = [{"name": "documents", "database": "app", "sql": "SELECT key FROM documents"}]
    media: dict[str, Any] = {
        "bucket": "acme-media",
        "prefixes": list(prefixes),
        "references": references,
        "deletion": {"mode": mode, "quarantine": quarantine},
    }
    other = {"bucket": "acme-other", "prefixes": ["files/"], "references": references}
    return Settings.model_validate(
        {"lake": "./lake", "databases": {"app": {"url": {"env": "URL"}}}, "buckets": {"media": media, "other": other}}
    )


@pytest.mark.parametrize("where", ["s3://acme-media/quarantine/", "s3://acme-media/uploads/old/", "s3://elsewhere/", "s3://acme-other/q/"])
def test_a_quarantine_may_lie_where_nothing_is_swept_from(where: str) -> None:
    assert settings(where).buckets["media"].deletion.quarantine == where


@pytest.mark.parametrize(
    ("where", "prefixes", "found"),
    [
        ("s3://acme-media/", ("uploads/",), "uploads/ of buckets.media"),
        ("s3://acme-media/uploads/", ("uploads/",), "uploads/ of buckets.media"),
        ("s3://acme-media/up/", ("up/loads/",), "up/loads/ of buckets.media"),
        ("s3://acme-media/", ("(all)",), "(all) of buckets.media"),
        ("s3://acme-other/files/", ("uploads/",), "files/ of buckets.other"),
    ],
)
def test_a_quarantine_that_holds_a_swept_prefix_is_refused(where: str, prefixes: tuple[str, ...], found: str) -> None:
    with pytest.raises(ValidationError) as raised:
        settings(where, prefixes=prefixes)
    [error] = raised.value.errors()
    assert error["loc"] == ("buckets", "media", "deletion", "quarantine")
    assert error["msg"] == f"found '{where}', which holds {found}, expected a place that nothing is swept from"


def test_permanent_is_pointed_out() -> None:
    assert (
        "buckets.media.deletion.mode is permanent: what is deleted is gone for good, there is no undo"
        in settings("s3://elsewhere/", mode="permanent").warnings()
    )


def test_whatever_lies_in_a_quarantine_is_protected_even_when_only_the_lake_remembers_it(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    remember(lake.bucket("media"), Quarantine.of("s3://acme-media/old/"), at=datetime.now(UTC))
    remember(lake.bucket("other"), Quarantine.of("s3://acme-media/theirs/"), at=datetime.now(UTC))
    known = ["s3://acme-media/new/", "s3://elsewhere/x/", *remembered(lake.bucket("media"))]
    assert set(own_prefixes("acme-media", [], known)) == {".orphan_pipeline/", "new/", "old/", "theirs/"}
    assert lake.bucket("media").ever_quarantined
    assert not lake.bucket("third").ever_quarantined


@given(keys=st.lists(KEYS, min_size=2, max_size=2, unique=True), prefix=st.sampled_from(["", "q/", "a/b/c/"]))
def test_no_two_objects_have_one_copy(keys: list[str], prefix: str) -> None:
    quarantine = Quarantine("bucket", prefix)
    places = [quarantine.copy_of(key, plan=plan * 64) for key in keys for plan in "ab"]
    assert len(set(places)) == 4
    for place in places:
        assert len(place.key.encode()) <= LONGEST_KEY
        assert place.key.startswith(prefix)
        assert Place.of(place.uri) == place
    assert places == [quarantine.copy_of(key, plan=plan * 64) for key in keys for plan in "ab"], "found again after a kill"
