"""The environment variable of a database comes to name another one: nothing of what that one does not know may go."""

import json
from datetime import UTC, datetime
from pathlib import Path

from sweep_files import DAY, bucket_settings, publish

from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.orphans.acceptance import closed_gates, gates_of
from orphan_pipeline.orphans.approvals import approve
from orphan_pipeline.orphans.manifest import read_manifests

KEPT = [*(f"a/k{n}" for n in range(200)), "b/kept"]


def test_what_another_database_does_not_know_stays_until_somebody_approves(tmp_path: Path) -> None:
    """Regression: 7.5 % fewer references, from another server, tripped nothing, and sixteen objects stood in the plan."""
    lake, now = BucketLake(tmp_path / "media"), datetime.now(UTC)
    for n in range(3):
        assert publish(lake, f"s{n}", orphans=["a/x"], referenced=KEPT, started_at=now - (5 - n) * DAY).tripped in ((), ("baseline",))
    other = publish(lake, "s9", orphans=["a/x", *KEPT[:15]], referenced=KEPT[15:], started_at=now - DAY, system_identifier="2")
    assert other.tripped == ("references_unchanged",)
    gates = gates_of(lake, other, bucket_settings())
    assert closed_gates(lake, other, gates).held_back == ["a/"]
    again = publish(lake, "s10", orphans=["a/x", *KEPT[:15]], referenced=KEPT[15:], started_at=now, system_identifier="2")
    assert (again.tripped, again.confirms) == (("references_unchanged",), "s2"), "nobody approved the first, so it counts for nothing"
    approve(lake, other.digest, [gate for gate in gates if not gate.passed], by="operator", at=now)
    assert all(gate.passed for gate in gates_of(lake, again, bucket_settings())), "approved once, for the sweeps after it too"


def test_manifests_of_before_are_still_read(tmp_path: Path) -> None:
    """They say neither oid nor timeline."""
    lake = BucketLake(tmp_path / "media")
    publish(lake, "one", started_at=datetime.now(UTC) - DAY)
    path = lake.sweep("one").manifest
    document = json.loads(path.read_text())
    for cut in document["references"]["cuts"]:
        del cut["database_oid"], cut["timeline"]
    path.write_text(json.dumps(document))
    [read] = read_manifests(lake)
    assert [(cut.database_oid, cut.timeline) for cut in read.references.cuts] == [(None, None)]
    assert publish(lake, "two").tripped == ()
