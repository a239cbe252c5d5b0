"""Every reason for which a plan may not be carried out, with its line, and the few for which it may go on (rules 8 and 9)."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from sweep_files import DATABASES, bucket_settings, publish

from orphan_pipeline.deletion.authorise import Authorised, authorise
from orphan_pipeline.deletion.execute import execute_plan, pretend
from orphan_pipeline.deletion.ledger import LedgerPlan
from orphan_pipeline.deletion.stopping import Limits
from orphan_pipeline.deletion.undo.notes import note_restore
from orphan_pipeline.deletion.undo.selection import Selection
from orphan_pipeline.errors import Refused
from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.orphans.acceptance import gates_of
from orphan_pipeline.orphans.approvals import approve
from orphan_pipeline.orphans.approving import approvable, record_approval
from orphan_pipeline.orphans.manifest import Manifest
from orphan_pipeline.settings.model import BucketSettings

VERSIONED = {"deletion": {"mode": "versioned"}}
KEPT = [f"{prefix}/kept{n}" for prefix in "ab" for n in range(3)]


@pytest.fixture
def lake(tmp_path: Path) -> BucketLake:
    return BucketLake(tmp_path / "media")


def ask(
    lake: BucketLake, prefix: str = "a/", *, digest: str | None = None, settings: BucketSettings | None = None, now: datetime | None = None
) -> Authorised | None:
    return authorise(
        lake,
        prefix,
        digest=digest,
        settings=settings or bucket_settings(**VERSIONED),
        databases=DATABASES,
        now=now or datetime.now(UTC),
    )


def granted(lake: BucketLake, prefix: str = "a/", **how: Any) -> Authorised:
    authorised = ask(lake, prefix, **how)
    assert authorised is not None
    return authorised


def refusal(lake: BucketLake, prefix: str = "a/", **how: Any) -> str:
    with pytest.raises(Refused) as refused:
        ask(lake, prefix, **how)
    return str(refused.value)


def sweep(lake: BucketLake, sweep_id: str = "s1", *, orphans: tuple[str, ...] = ("a/1", "b/1"), **how: Any) -> Manifest:
    return publish(lake, sweep_id, orphans=orphans, referenced=KEPT, **how)


def begin(authorised: Authorised) -> None:
    authorised.ledger.begin(authorised.ledger_plan)
    authorised.ledger.intend(0, run_id="run", at=datetime.now(UTC))


def let_pass(lake: BucketLake, digest: str) -> None:
    record_approval(lake, approvable(lake, bucket_settings(), digest), by="anna", at=datetime.now(UTC))


def edit(file: Path, before: str, after: str) -> None:
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after))


def test_a_bucket_that_was_never_swept_is_refused(lake: BucketLake) -> None:
    unfinished = lake.sweep("s1").stage("orphans")
    unfinished.mkdir(parents=True)
    assert refusal(lake) == "there is no finished sweep yet: run the sweep job first"


def test_the_latest_sweeps_plan_is_granted_with_the_ledger_of_its_digest(lake: BucketLake) -> None:
    sweep(lake, "s1")
    latest = sweep(lake, "s0")
    authorised = granted(lake)
    assert (authorised.manifest, authorised.plan, authorised.dry_run) == (latest, latest.plans["a/"], False)
    assert authorised.ledger.folder == lake.ledger(latest.plans["a/"].digest, dry_run=False)
    assert authorised.ledger_plan == LedgerPlan(bucket="media", prefix="a/", sweep_id="s0", digest=latest.plans["a/"].digest, dry_run=False)
    assert granted(lake, digest=latest.plans["a/"].digest[:8]) == authorised


def test_a_prefix_without_a_plan_has_nothing_to_do_even_if_an_older_sweep_had_one(lake: BucketLake) -> None:
    sweep(lake, "s1")
    begin(granted(lake))
    sweep(lake, "s2", orphans=("b/1",))
    assert ask(lake) is None
    assert ask(lake, "never/") is None
    assert granted(lake, "b/").manifest.sweep_id == "s2"


@pytest.mark.parametrize(
    ("digest", "line"),
    [
        ("0123456789", "plan '0123456789': 0 plans have this digest, expected one (`orphan-pipeline plan` lists them)"),
        ("012", "plan '012': found 3 characters, expected at least 8 of its digest"),
    ],
)
def test_an_unknown_digest_is_refused(lake: BucketLake, digest: str, line: str) -> None:
    sweep(lake)
    assert refusal(lake, digest=digest) == line


def test_a_plan_is_only_carried_out_for_its_own_prefix(lake: BucketLake) -> None:
    digest = sweep(lake).plans["b/"].digest
    assert refusal(lake, "a/", digest=digest) == f"plan {digest[:12]} is of b/, not of a/"


def test_an_expired_plan_is_refused_even_when_it_has_begun(lake: BucketLake) -> None:
    manifest = sweep(lake)
    begin(granted(lake, now=manifest.expires_at - timedelta(microseconds=1)))
    assert refusal(lake, now=manifest.expires_at) == (
        f"plan {manifest.plans['a/'].digest[:12]} of a/ expired at {manifest.expires_at:%Y-%m-%d %H:%M} UTC: run a new sweep"
    )


def test_a_plan_with_another_row_is_refused(lake: BucketLake) -> None:
    manifest = sweep(lake)
    file = lake.sweep("s1").root / manifest.plans["a/"].file
    plan = pq.read_table(file)
    pq.write_table(plan.set_column(plan.schema.get_field_index("key"), plan.schema.field("key"), [["a/kept0"]]), file)
    assert refusal(lake) == (
        f"plan {manifest.plans['a/'].digest[:12]} of a/ was edited after it was made: its digest does not match. Run a new sweep"
    )
    assert granted(lake, "b/").plan.prefix == "b/"


def test_a_plan_under_another_plans_file_is_refused(lake: BucketLake) -> None:
    """The bytes of b/ are whole and bound, but not to a/."""
    manifest = sweep(lake)
    edit(lake.sweep("s1").manifest, manifest.plans["a/"].file, manifest.plans["b/"].file)
    assert "was edited after it was made" in refusal(lake)


@pytest.mark.parametrize(
    ("before", "after"),
    [('"dangling": {\n    "sources": {}', '"dangling": {\n    "sources": {"documents": 0}'), ('"objects": 8', '"objects": 800')],
    ids=["dangling", "inventory"],
)
def test_a_manifest_with_other_figures_for_the_gates_is_refused(lake: BucketLake, before: str, after: str) -> None:
    manifest = sweep(lake)
    edit(lake.sweep("s1").manifest, before, after)
    assert refusal(lake) == (
        f"the manifest of plan {manifest.plans['a/'].digest[:12]} of a/ was edited after it was made: "
        "its digest does not match. Run a new sweep"
    )


def test_a_later_expiry_written_into_the_manifest_is_refused(lake: BucketLake) -> None:
    manifest = sweep(lake)
    year = str(manifest.expires_at.year)
    edit(lake.sweep("s1").manifest, f'"expires_at": "{year}', f'"expires_at": "{int(year) + 4}')
    assert "was edited after it was made" in refusal(lake)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"protect": ["a/1"]}, "protect"),
        ({"bucket": "acme-other"}, "bucket"),
        ({"endpoint": "https://s3.example.com", "region": "eu-west-1"}, "endpoint, region"),
        ({"safety": {"confirmations": 1, "max_orphan_fraction": 0.9}}, "safety.max_orphan_fraction"),
    ],
)
def test_a_plan_made_under_other_settings_is_refused_even_when_it_has_begun(lake: BucketLake, changed: dict[str, Any], named: str) -> None:
    manifest = sweep(lake)
    begin(granted(lake))
    assert refusal(lake, settings=bucket_settings(**VERSIONED, **changed)) == (
        f"plan {manifest.plans['a/'].digest[:12]} of a/ was made under other settings ({named} changed since): run a new sweep"
    )


def test_a_plan_superseded_before_it_began_is_refused_and_one_that_has_begun_goes_on(lake: BucketLake) -> None:
    first = sweep(lake, "s1")
    begin(granted(lake, "a/"))
    sweep(lake, "s2")
    assert granted(lake, "a/", digest=first.plans["a/"].digest).plan == first.plans["a/"]
    superseded = first.plans["b/"].digest
    assert refusal(lake, "b/", digest=superseded) == (
        f"plan {superseded[:12]} of b/ was superseded by sweep s2 before it began: use the plans of the latest full sweep"
    )


def test_a_dry_run_keeps_its_own_ledger_and_does_not_begin_the_plan(lake: BucketLake) -> None:
    manifest = sweep(lake, "s1")
    dry = granted(lake, settings=bucket_settings())
    assert dry.dry_run
    assert dry.ledger.folder == lake.ledger(manifest.plans["a/"].digest, dry_run=True)
    execute_plan(
        lake.sweep("s1").root / dry.plan.file,
        ledger=dry.ledger,
        of=dry.ledger_plan,
        run_id="run",
        deleter=pretend,
        keys=1,
        limits=Limits(expires_at=manifest.expires_at),
        report=lambda _: None,
    )
    assert dry.ledger.plan() == LedgerPlan(bucket="media", prefix="a/", sweep_id="s1", digest=dry.plan.digest, dry_run=True, mode="dry_run")
    assert dry.ledger.begun
    assert not granted(lake).ledger.begun
    assert granted(lake).ledger.totals() == {}
    sweep(lake, "s2")
    assert granted(lake, digest=dry.plan.digest, settings=bucket_settings()).plan == dry.plan
    assert "was superseded by sweep s2 before it began" in refusal(lake, digest=dry.plan.digest)


def test_a_real_deletion_that_has_begun_does_not_begin_the_dry_run(lake: BucketLake) -> None:
    digest = sweep(lake, "s1").plans["a/"].digest
    begin(granted(lake))
    sweep(lake, "s2")
    assert "was superseded" in refusal(lake, digest=digest, settings=bucket_settings())


def test_a_tripped_gate_of_the_bucket_blocks_every_prefix_until_the_sweep_is_approved(lake: BucketLake) -> None:
    manifest = sweep(lake, orphans=("a/1", "b/1"), gone=["a/gone"])
    tripped = (
        "gate match_rate is tripped: 85.7% of the 7 references of source documents have an object, and 85.7% of its different keys "
        "(about 7), expected at least 95.0%: do its keys need stripping or decoding (setting `key`)? "
        "`orphan-pipeline check` shows some. If this is right: "
    )
    for prefix in manifest.plans:
        assert refusal(lake, prefix) == tripped + f"orphan-pipeline approve {manifest.digest[:16]}"
    approve(lake, "0" * 64, gates_of(lake, manifest, bucket_settings()), by="anna", at=datetime.now(UTC))
    assert "gate match_rate is tripped" in refusal(lake)
    let_pass(lake, manifest.digest)
    assert [granted(lake, prefix).plan.prefix for prefix in ("a/", "b/")] == ["a/", "b/"]


def test_an_approval_of_one_plan_lets_pass_that_plan_alone(lake: BucketLake) -> None:
    manifest = sweep(lake, orphans=("a/1", "b/1"), gone=["a/gone"])
    let_pass(lake, manifest.plans["a/"].digest)
    assert granted(lake, "a/").plan == manifest.plans["a/"]
    assert "gate match_rate is tripped" in refusal(lake, "b/")


def test_an_approval_dies_with_its_sweep(lake: BucketLake) -> None:
    first = sweep(lake, "s1", gone=["a/gone"])
    let_pass(lake, first.digest)
    sweep(lake, "s2", gone=["a/gone"])
    assert "gate match_rate is tripped" in refusal(lake)


def test_the_gate_of_one_prefix_blocks_that_prefix_alone_and_dry_runs_too(lake: BucketLake) -> None:
    sweep(lake, orphans=("a/1", "a/2", "a/3", "a/4", "b/1"))
    for settings in (bucket_settings(), bucket_settings(**VERSIONED)):
        assert "gate prefix_orphan_fraction is tripped: 57.1% of a/ by count" in refusal(lake, settings=settings)
        assert granted(lake, "b/", settings=settings).plan.prefix == "b/"


def test_of_several_tripped_gates_the_first_is_named_and_the_others_counted(lake: BucketLake) -> None:
    sweep(lake, orphans=tuple(f"a/{n}" for n in range(9)), gone=["a/gone"])
    assert " (and 2 more). If this is right: " in refusal(lake)


def test_a_gate_tripped_after_it_began_stops_what_is_left(lake: BucketLake) -> None:
    """Every gate is evaluated again whenever a run starts: an approval taken back counts at once."""
    sweep(lake, "s0")
    manifest = sweep(lake, gone=["a/gone"])
    let_pass(lake, manifest.digest)
    begin(granted(lake))
    lake.approval(manifest.digest).unlink()
    assert "gate match_rate is tripped" in refusal(lake)


def test_an_approval_overrides_the_gates_that_it_names_and_no_other(lake: BucketLake) -> None:
    manifest = sweep(lake, orphans=("a/1", "a/2", "a/3", "a/4"), gone=["a/gone"])
    closed = [gate for gate in gates_of(lake, manifest, bucket_settings()) if gate.name == "match_rate"]
    approve(lake, manifest.digest, closed, by="anna", at=datetime.now(UTC))
    assert refusal(lake).startswith("gate prefix_orphan_fraction is tripped: ")
    let_pass(lake, manifest.digest)
    assert granted(lake).plan.prefix == "a/"


def test_the_first_sweep_of_a_bucket_is_approved_once(lake: BucketLake) -> None:
    first = sweep(lake, "s1", baseline=False)
    assert first.tripped == ("baseline",)
    assert refusal(lake).startswith("gate baseline is tripped: no sweep of this bucket was accepted yet: ")
    let_pass(lake, first.digest)
    assert granted(lake).plan == first.plans["a/"]
    second = sweep(lake, "s2", baseline=False)
    assert second.tripped == ()
    assert granted(lake).plan == second.plans["a/"]


def test_a_plan_whose_file_is_gone_is_refused_in_one_line(lake: BucketLake) -> None:
    manifest = sweep(lake)
    (lake.sweep("s1").root / manifest.plans["a/"].file).unlink()
    assert refusal(lake) == f"plan {manifest.plans['a/'].digest[:12]} of a/ has no file any more in sweep s1: run a new sweep"


@pytest.mark.parametrize(
    ("asked", "blocked"),
    [
        ({"plan": "a/"}, "a"),
        ({"prefix": "a/"}, "a"),
        ({"key": "a/1"}, "a"),
        ({"key": "b/9"}, "b"),
        ({"prefix": "a/1/"}, ""),
        ({"key": "c"}, ""),
    ],
)
def test_a_plan_that_was_restored_goes_no_further_and_a_later_sweeps_does(lake: BucketLake, asked: dict[str, Any], blocked: str) -> None:
    manifest = sweep(lake, "s1")
    for prefix in ("a/", "b/"):
        begin(granted(lake, prefix))
    at = datetime.now(UTC)
    note_restore(lake.restore("r1"), [granted(lake).ledger], Selection(**asked), at=at)
    for prefix in ("a/", "b/"):
        if prefix[0] == blocked:
            plan = manifest.plans[prefix]
            assert refusal(lake, prefix, digest=plan.digest) == (
                f"plan {plan.digest[:12]} of {prefix} was restored at {at:%Y-%m-%d %H:%M} UTC: run a new sweep"
            )
        else:
            assert granted(lake, prefix).plan.prefix == prefix
    sweep(lake, "s2")
    assert [granted(lake, prefix).manifest.sweep_id for prefix in ("a/", "b/")] == ["s2", "s2"]


def test_a_restore_of_one_plan_blocks_an_older_plan_of_its_prefix_too(lake: BucketLake) -> None:
    """Both may name the same keys: they stood when the second plan was made, and the first deleted them since."""
    sweep(lake, "s1")
    begin(first := granted(lake))
    sweep(lake, "s2")
    note_restore(lake.restore("r1"), [first.ledger], Selection(plan=first.plan.digest[:8]), at=datetime.now(UTC))
    assert "was restored at" in refusal(lake)
    assert granted(lake, "b/").manifest.sweep_id == "s2"
