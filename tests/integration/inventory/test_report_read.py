"""A whole S3 Inventory report is read from a real store, or refused in one line; never a part of it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
from botocore.exceptions import ClientError
from report_writer import FORMATS, Version, put_report

from orphan_pipeline.demo.servers import ObjectStore
from orphan_pipeline.errors import Refused
from orphan_pipeline.inventory.columns import LISTED
from orphan_pipeline.inventory.prefixes import OwnedPrefix
from orphan_pipeline.inventory.reports.manifest import report_folder
from orphan_pipeline.inventory.reports.report import Report, read_report
from orphan_pipeline.inventory.snapshot import PART, InventoryFigures
from orphan_pipeline.inventory.take import take_inventory
from orphan_pipeline.settings.model import InventorySettings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
SCAN = datetime(2026, 11, 20, 1, 0, tzinfo=UTC)
DAY = timedelta(days=1)
FOLDER = "inv/source/daily/"
STAMPED = f"{FOLDER}2026-11-20T01-00Z/"
FILES = [
    [Version(key=f"uploads/{n} +%2B\n\"é\",'🎉'.jpg", size=n, etag=f"{n:032x}-{n % 3}") for n in range(700)],
    [],
    [Version(key="uploads/last", storage_class="GLACIER", last_modified=datetime(2019, 1, 1, tzinfo=UTC))],
]


BOTH = pytest.mark.parametrize("store", ["moto", "seaweedfs"], indirect=True)


@pytest.fixture
def store(request: pytest.FixtureRequest) -> ObjectStore:
    found: ObjectStore = request.getfixturevalue(getattr(request, "param", "seaweedfs"))
    return found


@pytest.fixture
def inv(store: ObjectStore, make_bucket: Callable[..., str]) -> str:
    """The bucket in which the reports lie."""
    return make_bucket(store)


@pytest.fixture
def client(store: ObjectStore) -> "S3Client":
    return store.client()


def _put(client: "S3Client", inv: str, form: str = "CSV", *, stamp: datetime = SCAN, source_bucket: str = "source", **wrong: Any) -> str:
    return put_report(client, inv, form, wrong.pop("files", FILES), source_bucket=source_bucket, stamp=stamp, **wrong)


def _report(
    client: "S3Client", location: str, folder: Path, *, now: datetime = NOW, hours: int = 48, lines: list[str] | None = None
) -> Report:
    say = (lines if lines is not None else []).append
    return read_report(
        client, manifest=location, source_bucket="source", max_age=timedelta(hours=hours), now=now, folder=folder, report=say
    )


def _refusal(client: "S3Client", location: str, folder: Path, **how: Any) -> str:
    with pytest.raises(Refused) as refused:
        list(_report(client, location, folder, **how).batches())
    assert list(folder.iterdir()) == []
    assert "\n" not in str(refused.value)
    return str(refused.value)


@BOTH
@pytest.mark.parametrize("form", FORMATS)
def test_every_object_of_every_file_is_listed_exactly_once(client: "S3Client", inv: str, tmp_path: Path, form: str) -> None:
    key = _put(client, inv, form)
    lines: list[str] = []

    report = _report(client, f"s3://{inv}/{FOLDER}", tmp_path, lines=lines)
    batches = list(report.batches())

    assert all(batch.schema == LISTED for batch in batches)
    assert [tuple(row.values()) for batch in batches for row in batch.to_pylist()] == [
        (version.key, version.size, version.last_modified, version.etag, version.storage_class) for file in FILES for version in file
    ]
    data = client.list_objects_v2(Bucket=inv, Prefix=f"{FOLDER}data/")["Contents"]
    assert report.detail() == "3 of 3 files read, 701 rows"
    figures = report.figures
    assert (figures.files, figures.bytes) == (3, sum(entry["Size"] for entry in data))
    assert (figures.rows, figures.noncurrent, figures.delete_markers) == (701, 0, 0)
    assert (report.started_at, report.manifest_key) == (SCAN, key)
    assert lines == [f"inventory: s3://{inv}/{key}, scan begun at 2026-11-20 01:00 UTC, 3 {form} files, {figures.bytes:,} bytes"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", FORMATS)
def test_a_versioned_report_lists_what_the_store_itself_lists(
    moto: ObjectStore, make_bucket: Callable[..., str], tmp_path: Path, form: str
) -> None:
    client, source = moto.client(), make_bucket(moto, versioned=True)
    for key, times in (("a+b c", 2), ("ü%20", 1), ("gone", 2), ("back", 1)):
        for n in range(times):
            client.put_object(Bucket=source, Key=key, Body=f"{key}{n}".encode())
    client.delete_object(Bucket=source, Key="gone")
    client.delete_object(Bucket=source, Key="back")
    client.put_object(Bucket=source, Key="back", Body=b"again")
    answer = client.list_object_versions(Bucket=source)
    versions = [
        Version(
            key=found["Key"],
            size=found["Size"],
            last_modified=found["LastModified"],
            etag=found["ETag"].strip('"'),
            version_id=found["VersionId"],
            latest=found["IsLatest"],
        )
        for found in answer["Versions"]
    ]
    markers = [
        Version(
            key=found["Key"],
            last_modified=found["LastModified"],
            version_id=found["VersionId"],
            latest=found["IsLatest"],
            delete_marker=True,
        )
        for found in answer["DeleteMarkers"]
    ]
    inv = make_bucket(moto)
    put_report(client, inv, form, [versions, markers], source_bucket=source, stamp=SCAN, versions=True)
    report = read_report(
        client,
        manifest=f"s3://{inv}/{FOLDER}",
        source_bucket=source,
        max_age=2 * DAY,
        now=NOW,
        folder=tmp_path,
        report=lambda line: None,
    )

    read = {row["key"]: (row["size"], row["last_modified"], row["etag"]) for batch in report.batches() for row in batch.to_pylist()}

    live = client.list_objects_v2(Bucket=source)["Contents"]
    assert read == {found["Key"]: (found["Size"], found["LastModified"], found["ETag"].strip('"')) for found in live}
    assert (report.figures.rows, report.figures.noncurrent, report.figures.delete_markers) == (9, 5, 1)


@BOTH
def test_the_newest_complete_report_of_a_folder_is_read(client: "S3Client", inv: str, tmp_path: Path) -> None:
    _put(client, inv, "CSV", stamp=SCAN - DAY)
    key = _put(client, inv, "ORC")
    newer = _put(client, inv, "Parquet", stamp=SCAN + DAY, with_checksum=False)
    client.put_object(Bucket=inv, Key=f"{FOLDER}2026-11-21T02-00Z/manifest.checksum", Body=b"x")
    client.put_object(Bucket=inv, Key=f"{FOLDER}not-a-report/manifest.json", Body=b"x")
    client.put_object(Bucket=inv, Key=f"{FOLDER}2026-99-20T01-00Z/manifest.json", Body=b"x")
    lines: list[str] = []

    report = _report(client, f"s3://{inv}/{FOLDER}", tmp_path, lines=lines)

    assert (report.manifest_key, report.started_at) == (key, SCAN)
    assert lines[:2] == [
        f"s3://{inv}/{FOLDER}2026-11-21T02-00Z/manifest.json is missing, the report is not complete: passed over",
        f"s3://{inv}/{newer.removesuffix('json')}checksum is missing, the report is not complete: passed over",
    ]


@pytest.mark.parametrize("location", [f"{STAMPED}manifest.json", STAMPED])
def test_a_report_that_is_named_is_read_though_there_is_a_newer_one(client: "S3Client", inv: str, tmp_path: Path, location: str) -> None:
    _put(client, inv)
    _put(client, inv, stamp=SCAN + DAY)
    assert _report(client, f"s3://{inv}/{location}", tmp_path).started_at == SCAN
    assert report_folder(f"s3://{inv}/{location}") == (inv, FOLDER)


def test_a_stale_report_is_refused(client: "S3Client", inv: str, tmp_path: Path) -> None:
    _put(client, inv)
    assert list(_report(client, f"s3://{inv}/{FOLDER}", tmp_path, now=SCAN + 2 * DAY).batches())
    for location in (FOLDER, f"{STAMPED}manifest.json"):
        line = _refusal(client, f"s3://{inv}/{location}", tmp_path, now=SCAN + 2 * DAY + timedelta(seconds=1))
        assert "stale, the scan began at 2026-11-20 01:00 UTC, more than 48h ago" in line


def test_an_old_report_in_a_young_folder_is_stale(client: "S3Client", inv: str, tmp_path: Path) -> None:
    before = str(int((SCAN - 3 * DAY).timestamp() * 1000))
    _put(client, inv, change=lambda manifest: manifest.update(creationTimestamp=before))
    assert "stale, the scan began at 2026-11-17 01:00 UTC" in _refusal(client, f"s3://{inv}/{FOLDER}", tmp_path)


def test_a_stale_report_behind_an_incomplete_one_is_refused(client: "S3Client", inv: str, tmp_path: Path) -> None:
    _put(client, inv, stamp=SCAN - 9 * DAY)
    _put(client, inv, with_checksum=False)
    assert "stale, the scan began at 2026-11-11 01:00 UTC" in _refusal(client, f"s3://{inv}/{FOLDER}", tmp_path)


def test_a_report_from_the_future_is_refused(client: "S3Client", inv: str, tmp_path: Path) -> None:
    _put(client, inv)
    for location in (FOLDER, f"{STAMPED}manifest.json"):
        line = _refusal(client, f"s3://{inv}/{location}", tmp_path, now=SCAN - timedelta(seconds=1))
        assert line.endswith("the scan began at 2026-11-20 01:00 UTC, which is yet to come (now 2026-11-20 00:59 UTC)")


@BOTH
def test_a_folder_without_a_complete_report_is_refused(client: "S3Client", inv: str, tmp_path: Path) -> None:
    expected = "no complete report, expected some YYYY-MM-DDTHH-MMZ/manifest.json with its manifest.checksum directly below"
    assert _refusal(client, f"s3://{inv}/nothing/", tmp_path) == f"s3://{inv}/nothing/: {expected}"
    _put(client, inv, with_checksum=False)
    assert _refusal(client, f"s3://{inv}/{FOLDER}", tmp_path) == f"s3://{inv}/{FOLDER}: {expected}"
    assert _refusal(client, f"s3://{inv}/inv/", tmp_path) == f"s3://{inv}/inv/: {expected}"


@BOTH
def test_a_named_report_without_its_checksum_is_refused(client: "S3Client", inv: str, tmp_path: Path) -> None:
    key = _put(client, inv, with_checksum=False)
    line = _refusal(client, f"s3://{inv}/{key}", tmp_path)
    assert line == f"s3://{inv}/{STAMPED}manifest.checksum is missing, the report is not complete"


def test_a_manifest_that_differs_from_its_checksum_is_refused(client: "S3Client", inv: str, tmp_path: Path) -> None:
    key = _put(client, inv)
    checksum = client.get_object(Bucket=inv, Key=f"{STAMPED}manifest.checksum")["Body"].read()
    client.put_object(Bucket=inv, Key=f"{STAMPED}manifest.checksum", Body=checksum.upper() + b"\n")
    assert _report(client, f"s3://{inv}/{key}", tmp_path).started_at == SCAN
    _put(client, inv, stamp=SCAN - timedelta(hours=1))
    _put(client, inv, checksum="d41d8cd98f00b204e9800998ecf8427e")
    for location in (key, FOLDER):
        line = _refusal(client, f"s3://{inv}/{location}", tmp_path)
        assert line.endswith("but manifest.checksum says 'd41d8cd98f00b204e9800998ecf8427e'")


def test_a_report_about_another_bucket_is_refused(client: "S3Client", inv: str, tmp_path: Path) -> None:
    key = _put(client, inv, source_bucket="other")
    line = _refusal(client, f"s3://{inv}/{FOLDER}", tmp_path)
    assert line == f"s3://{inv}/{key}: a report about bucket 'other', expected 'source'"


def test_a_report_without_the_fields_that_are_needed_is_refused(client: "S3Client", inv: str, tmp_path: Path) -> None:
    _put(client, inv, "Parquet", optional=("LastModifiedDate",))
    assert "the report has no Size, ETag: turn these optional fields on" in _refusal(client, f"s3://{inv}/{FOLDER}", tmp_path)


@BOTH
def test_a_report_without_versions_is_refused_where_they_are_asked_for(client: "S3Client", inv: str, tmp_path: Path) -> None:
    key = _put(client, inv)
    with pytest.raises(Refused) as refused:
        read_report(
            client,
            manifest=f"s3://{inv}/{FOLDER}",
            source_bucket="source",
            max_age=2 * DAY,
            now=NOW,
            folder=tmp_path,
            report=lambda line: None,
            versions=True,
        )
    assert str(refused.value) == (
        f"s3://{inv}/{key}: a report of current versions only, expected one of all versions, since inventory.versions is true"
    )


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_that_is_not_what_the_manifest_says_is_refused(client: "S3Client", inv: str, tmp_path: Path, form: str) -> None:
    key = _put(client, inv, form)
    file = sorted(entry["Key"] for entry in client.list_objects_v2(Bucket=inv, Prefix=f"{FOLDER}data/")["Contents"])[2]
    whole = client.get_object(Bucket=inv, Key=file)["Body"].read()
    where, said = f"s3://{inv}/{file}", f"s3://{inv}/{key}"

    client.put_object(Bucket=inv, Key=file, Body=whole[:-1])
    shorter = _refusal(client, f"s3://{inv}/{FOLDER}", tmp_path)
    client.put_object(Bucket=inv, Key=file, Body=whole[:-1] + bytes([whole[-1] ^ 1]))
    altered = _refusal(client, f"s3://{inv}/{FOLDER}", tmp_path)
    client.delete_object(Bucket=inv, Key=file)
    missing = _refusal(client, f"s3://{inv}/{FOLDER}", tmp_path)

    assert shorter == f"{where}: {len(whole) - 1:,} bytes, but {said} says {len(whole):,}"
    assert altered.startswith(f"{where}: its MD5 is ")
    assert altered.partition(", but ")[2].startswith(f"{said} says ")
    assert missing == f"{where}: missing, and named in {said}"


def test_rows_of_a_file_are_not_believed_before_it_is_verified(client: "S3Client", inv: str, tmp_path: Path) -> None:
    _put(client, inv, change=lambda manifest: manifest["files"][0].update(MD5checksum="5925f4e78e1695c2d020b9f6eexample"))
    with pytest.raises(Refused, match="its MD5 is"):
        next(_report(client, f"s3://{inv}/{FOLDER}", tmp_path).batches())


def test_a_report_that_is_left_half_read_leaves_nothing_behind(client: "S3Client", inv: str, tmp_path: Path) -> None:
    _put(client, inv)
    report = _report(client, f"s3://{inv}/{FOLDER}", tmp_path)
    batches = report.batches()
    next(batches)
    assert list(tmp_path.iterdir()) != []
    batches.close()
    assert list(tmp_path.iterdir()) == []
    assert report.figures.files == 0


def test_reading_it_again_counts_from_the_start(client: "S3Client", inv: str, tmp_path: Path) -> None:
    _put(client, inv)
    report = _report(client, f"s3://{inv}/{FOLDER}", tmp_path)
    for _ in range(2):
        assert sum(batch.num_rows for batch in report.batches()) == report.figures.rows == 701


def test_an_empty_bucket_has_an_empty_report(client: "S3Client", inv: str, tmp_path: Path) -> None:
    _put(client, inv, files=[])
    report = _report(client, f"s3://{inv}/{FOLDER}", tmp_path)
    assert list(report.batches()) == []
    assert report.figures.files == 0


@BOTH
def test_a_bucket_that_is_not_there_is_the_stores_own_error(client: "S3Client", tmp_path: Path) -> None:
    with pytest.raises(ClientError, match="NoSuchBucket"):
        _report(client, f"s3://no-such-bucket/{FOLDER}", tmp_path)


def taken(
    client: "S3Client",
    inv: str,
    source: str,
    folder: Path,
    *,
    files: list[list[Version]],
    lines: list[str],
    last: InventoryFigures | None = None,
) -> InventoryFigures:
    key = _put(client, inv, "Parquet", files=files, source_bucket=source, stamp=datetime.now(UTC) - timedelta(hours=1))
    asked = {"from": "s3_inventory", "manifest": f"s3://{inv}/{key}", "max_age": "2h"}
    return take_inventory(
        client,
        source,
        InventorySettings.model_validate(asked),
        prefixes=[OwnedPrefix(path="uploads/")],
        last=last,
        folder=folder,
        report=lines.append,
    )


@BOTH
def test_a_report_becomes_the_snapshot(client: "S3Client", inv: str, make_bucket: Any, store: ObjectStore, tmp_path: Path) -> None:
    lines: list[str] = []
    source = make_bucket(store)
    figures = taken(client, inv, source, tmp_path, files=FILES, lines=lines)
    written = pq.read_table(tmp_path / PART)
    rows = sorted(tuple(row.values()) for row in written.select(LISTED.names).to_pylist())
    assert rows == sorted((one.key, one.size, one.last_modified, one.etag, one.storage_class) for file in FILES for one in file)
    assert set(written["prefix"].to_pylist()) == {"uploads/"}
    assert (figures.total.objects, figures.listing) == (701, None)
    assert figures.started_at < figures.store_clock - timedelta(minutes=59)
    assert lines[-1].startswith("inventory: 701 keys in ")


def test_an_object_that_a_report_names_twice_leaves_no_inventory(
    client: "S3Client", inv: str, make_bucket: Any, store: ObjectStore, tmp_path: Path
) -> None:
    """S3 promises of a report that it is right in the end."""
    twice = [FILES[0], [Version(key="uploads/last"), Version(key="uploads/last", size=2)]]
    with pytest.raises(Refused, match="the report names 'uploads/last' twice, expected each object once") as refused:
        taken(client, inv, make_bucket(store), tmp_path, files=twice, lines=[])
    assert "\n" not in str(refused.value)
