"""What a plan that is gone on with must get right, beside what the kills show: each of these was found by them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
import real_run
from deletion_helpers import client_of, recorded, standing
from live_application import make_table

from orphan_pipeline.deletion.deleter import VersionedDeleter
from orphan_pipeline.deletion.quarantine.place import Quarantine
from orphan_pipeline.demo.servers import ObjectStore

MakeBucket = Callable[..., str]


def reference(url: str, key: str) -> None:
    with psycopg.connect(url) as connection:
        document = f'{{"attachments": [{{"url": "{key}"}}]}}'
        connection.execute("INSERT INTO documents (data) VALUES (%s)", [document])


@pytest.mark.xfail(strict=True, reason="the canary is looked at in every run, and takes what was brought back at once for a lie of the store")
def test_a_plan_goes_on_whose_canary_was_brought_back(
    seaweedfs: ObjectStore, make_bucket: MakeBucket, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_table(database_url, index=True)
    swept = real_run.sweep(
        seaweedfs,
        make_bucket(seaweedfs, versioned=True),
        {f"a/{n:02d}": b"%d" % n for n in range(40)},
        database_url=database_url,
        folder=tmp_path,
        chunk=10,
        deletion={"mode": "versioned", "max_deletions": 20, "concurrency": 1},
    )
    used = next(key for key, chunk in swept.chunk_of.items() if chunk == 0)
    monkeypatch.setattr(real_run, "tell", lambda chunk, *, file: reference(database_url, used))
    swept.delete("r1")  # as far as the cap
    assert swept.client.head_object(Bucket=swept.bucket, Key=used)["ETag"], "it was brought back"
    swept.delete("r2")
    assert sum(amount.objects for amount in swept.ledger.totals().values()) == 40


@pytest.mark.xfail(strict=True, reason="of a key that is held when its chunk is gone on with, the copy that a killed run made is not named")
@pytest.mark.parametrize("versioned", [False, True])
def test_a_copy_that_a_killed_run_made_is_named_though_its_key_is_held_by_now(
    versioned: bool, seaweedfs: ObjectStore, make_bucket: MakeBucket, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What no line names, no purge ever removes."""
    make_table(database_url, index=True)
    swept = real_run.sweep(
        seaweedfs,
        make_bucket(seaweedfs, versioned=versioned),
        {f"a/{n:02d}": b"%d" % n for n in range(10)},
        database_url=database_url,
        folder=tmp_path,
        chunk=10,
        deletion={"mode": "quarantine", "quarantine": f"s3://{make_bucket(seaweedfs)}/q/"},
    )

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(VersionedDeleter, "__call__", killed)
        with pytest.raises(KeyboardInterrupt):
            swept.delete("r1")
    reference(database_url, "a/03")
    swept.delete("r2")
    lines = {line["key"]: line for line in recorded(swept.ledger)}
    assert lines["a/03"]["outcome"] == "referenced_again"
    plan = swept.ledger.plan()
    assert plan is not None
    place = Quarantine.of(plan.quarantine or "")
    copies = {f"s3://{place.bucket}/{key}" for key in standing(client_of(seaweedfs), place.bucket)}
    assert copies == {line["copy"] for line in lines.values()} - {None}
