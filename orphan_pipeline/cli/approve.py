"""`orphan-pipeline approve`: lets tripped gates pass for one digest, after showing which and why they tripped."""

import getpass
from datetime import UTC, datetime
from pathlib import Path

import click

from orphan_pipeline.cli.common import (
    confirm,
    digest_typed,
    err,
    json_option,
    lake_of,
    one_bucket,
    one_bucket_option,
    open_settings,
    print_json,
    settings_option,
    yes_option,
)
from orphan_pipeline.digests import shown
from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.orphans.approvals import Approval
from orphan_pipeline.orphans.approving import Approvable, approvable, record_approval
from orphan_pipeline.wording import counted


@click.command("approve")
@click.argument("digest", type=digest_typed)
@settings_option
@one_bucket_option
@yes_option
@json_option
def command(digest: str, settings_path: Path | None, bucket: str | None, yes: bool, as_json: bool) -> None:
    """Let tripped gates pass for one DIGEST: a sweep's, a plan's or a pause's."""
    settings = open_settings(settings_path, secrets=False)
    name, own = one_bucket(settings, bucket)
    lake = lake_of(settings, name)
    what = approvable(lake, own, digest)
    for gate in what.gates:
        err.print(f"gate {gate.name}: {gate.message}", markup=False)
    confirm(f"Let {counted(len(what.gates), 'tripped gate')} pass for {what.what} of {name}?", yes=yes)
    approval = approve_as_operator(lake, what)
    if as_json:
        print_json({"digest": approval.digest, "by": approval.by, "at": approval.at.isoformat(), "gates": approval.gates})
    else:
        err.print(f"approved by {approval.by}: {what.what}, digest {shown(approval.digest)}", markup=False)


def approve_as_operator(lake: BucketLake, what: Approvable) -> Approval:
    """In the name of whoever runs this."""
    return record_approval(lake, what, by=getpass.getuser(), at=datetime.now(UTC))
