"""What the manifest of an S3 Inventory report must say to be believed, by the documentation's own examples."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from orphan_pipeline.errors import Refused
from orphan_pipeline.inventory.reports.manifest import ReportFile, parse_manifest, report_folder

# The three example manifests of the S3 user guide, "Locating your inventory list", character for character.
DOCUMENTED_CSV = """{
    "sourceBucket": "amzn-s3-demo-source-bucket",
    "destinationBucket": "arn:aws:s3:::example-inventory-destination-bucket",
    "version": "2016-11-30",
    "creationTimestamp" : "1514944800000",
    "fileFormat": "CSV",
    "fileSchema": "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, LastModifiedDate, ETag, StorageClass, IsMultipartUploaded, ReplicationStatus, EncryptionStatus, ObjectLockRetainUntilDate, ObjectLockMode, ObjectLockLegalHoldStatus, IntelligentTieringAccessTier, BucketKeyStatus, ChecksumAlgorithm, ObjectAccessControlList, ObjectOwner",
    "files": [
        {
            "key": "Inventory/amzn-s3-demo-source-bucket/2016-11-06T21-32Z/files/939c6d46-85a9-4ba8-87bd-9db705a579ce.csv.gz",
            "size": 2147483647,
            "MD5checksum": "f11166069f1990abeb9c97ace9cdfabc"
        }
    ]
}
"""  # noqa: E501
DOCUMENTED_ORC = """{
    "sourceBucket": "amzn-s3-demo-source-bucket",
    "destinationBucket": "arn:aws:s3:::example-destination-bucket",
    "version": "2016-11-30",
    "creationTimestamp" : "1514944800000",
    "fileFormat": "ORC",
    "fileSchema": "struct<bucket:string,key:string,version_id:string,is_latest:boolean,is_delete_marker:boolean,size:bigint,last_modified_date:timestamp,e_tag:string,storage_class:string,is_multipart_uploaded:boolean,replication_status:string,encryption_status:string,object_lock_retain_until_date:timestamp,object_lock_mode:string,object_lock_legal_hold_status:string,intelligent_tiering_access_tier:string,bucket_key_status:string,checksum_algorithm:string,object_access_control_list:string,object_owner:string>",
    "files": [
        {
            "key": "inventory/amzn-s3-demo-source-bucket/data/d794c570-95bb-4271-9128-26023c8b4900.orc",
            "size": 56291,
            "MD5checksum": "5925f4e78e1695c2d020b9f6eexample"
        }
    ]
}
"""  # noqa: E501
DOCUMENTED_PARQUET = """{
    "sourceBucket": "amzn-s3-demo-source-bucket",
    "destinationBucket": "arn:aws:s3:::example-destination-bucket",
    "version": "2016-11-30",
    "creationTimestamp" : "1514944800000",
    "fileFormat": "Parquet",
    "fileSchema": "message s3.inventory { required binary bucket (UTF8); required binary key (UTF8); optional binary version_id (UTF8); optional boolean is_latest; optional boolean is_delete_marker; optional int64 size; optional int64 last_modified_date (TIMESTAMP_MILLIS); optional binary e_tag (UTF8); optional binary storage_class (UTF8); optional boolean is_multipart_uploaded; optional binary replication_status (UTF8); optional binary encryption_status (UTF8); optional int64 object_lock_retain_until_date (TIMESTAMP_MILLIS); optional binary object_lock_mode (UTF8); optional binary object_lock_legal_hold_status (UTF8); optional binary intelligent_tiering_access_tier (UTF8); optional binary bucket_key_status (UTF8); optional binary checksum_algorithm (UTF8); optional binary object_access_control_list (UTF8); optional binary object_owner (UTF8);}",
    "files": [
        {
           "key": "inventory/amzn-s3-demo-source-bucket/data/d754c470-85bb-4255-9218-47023c8b4910.parquet",
            "size": 56291,
            "MD5checksum": "5825f2e18e1695c2d030b9f6eexample"
        }
    ]
}
"""  # noqa: E501
# Not from the documentation: how a manifest of 2020 and later spells the same Parquet types.
NEWER_PARQUET = (
    "message s3.inventory {  required binary bucket (STRING);  required binary key (STRING);  optional int64 size;  "
    "optional int64 last_modified_date (TIMESTAMP(MILLIS,true));  optional binary e_tag (STRING);}"
)
# Read off the documentation by hand, in its order.
TWENTY_COLUMNS = (
    "bucket", "key", "versionid", "islatest", "isdeletemarker", "size", "lastmodifieddate", "etag", "storageclass",
    "ismultipartuploaded", "replicationstatus", "encryptionstatus", "objectlockretainuntildate", "objectlockmode",
    "objectlocklegalholdstatus", "intelligenttieringaccesstier", "bucketkeystatus", "checksumalgorithm", "objectaccesscontrollist",
    "objectowner",
)  # fmt: skip

KEY = "inv/amzn-s3-demo-source-bucket/daily/2018-01-03T02-00Z/manifest.json"
WHERE = f"s3://inv-bucket/{KEY}"


def _parse(text: str, *, key: str = KEY, source_bucket: str = "amzn-s3-demo-source-bucket") -> Any:
    return parse_manifest(text.encode(), bucket="inv-bucket", key=key, source_bucket=source_bucket)


@pytest.mark.parametrize(
    ("text", "form", "file"),
    [
        (
            DOCUMENTED_CSV,
            "CSV",
            ReportFile(
                key="Inventory/amzn-s3-demo-source-bucket/2016-11-06T21-32Z/files/939c6d46-85a9-4ba8-87bd-9db705a579ce.csv.gz",
                size=2_147_483_647,
                md5="f11166069f1990abeb9c97ace9cdfabc",
            ),
        ),
        (
            DOCUMENTED_ORC,
            "ORC",
            ReportFile(
                key="inventory/amzn-s3-demo-source-bucket/data/d794c570-95bb-4271-9128-26023c8b4900.orc",
                size=56_291,
                md5="5925f4e78e1695c2d020b9f6eexample",
            ),
        ),
        (
            DOCUMENTED_PARQUET,
            "Parquet",
            ReportFile(
                key="inventory/amzn-s3-demo-source-bucket/data/d754c470-85bb-4255-9218-47023c8b4910.parquet",
                size=56_291,
                md5="5825f2e18e1695c2d030b9f6eexample",
            ),
        ),
    ],
)
def test_the_documented_examples_are_understood(text: str, form: str, file: ReportFile) -> None:
    manifest = _parse(text)
    assert (manifest.format, manifest.columns, manifest.files) == (form, TWENTY_COLUMNS, (file,))
    assert manifest.started_at == datetime(2018, 1, 3, 2, 0, tzinfo=UTC)
    assert (manifest.bucket, manifest.key) == ("inv-bucket", KEY)


def test_a_newer_spelling_of_the_parquet_types_is_understood() -> None:
    document = json.loads(DOCUMENTED_PARQUET) | {"fileSchema": NEWER_PARQUET}
    assert _parse(json.dumps(document)).columns == ("bucket", "key", "size", "lastmodifieddate", "etag")


def test_the_scan_began_at_the_earlier_of_stamp_and_timestamp() -> None:
    earlier, later = KEY.replace("01-03T02", "01-02T23"), KEY.replace("01-03T02", "01-04T02")
    assert _parse(DOCUMENTED_CSV, key=earlier).started_at == datetime(2018, 1, 2, 23, 0, tzinfo=UTC)
    assert _parse(DOCUMENTED_CSV, key=later).started_at == datetime(2018, 1, 3, 2, 0, tzinfo=UTC)


NO_FIELDS = "turn these optional fields on in the bucket's inventory configuration"
FILE = {"key": "a", "size": 1, "MD5checksum": "0"}

# what of the documented CSV manifest is changed, the line after the manifest's address
REFUSED = [
    ({"version": "2030-01-01"}, "version '2030-01-01', expected '2016-11-30'"),
    ({"version": None}, "expected version as a text"),
    ({"sourceBucket": "other"}, "a report about bucket 'other', expected 'amzn-s3-demo-source-bucket'"),
    ({"fileFormat": "Avro"}, "fileFormat 'Avro', expected one of CSV, ORC, Parquet"),
    ({"fileFormat": "csv"}, "fileFormat 'csv', expected one of CSV, ORC, Parquet"),
    ({"creationTimestamp": "yesterday"}, "creationTimestamp 'yesterday', expected milliseconds since 1970"),
    ({"creationTimestamp": 1514944800000}, "expected creationTimestamp as a text"),
    ({"fileSchema": "Bucket, Key, LastModifiedDate, StorageClass"}, f"the report has no Size, ETag: {NO_FIELDS}"),
    ({"fileSchema": "Bucket, Key, Size, ETag, StorageClass"}, f"the report has no LastModifiedDate: {NO_FIELDS}"),
    ({"fileSchema": "Bucket, Key, IsLatest, Size, ETag, LastModifiedDate"},
     "fileSchema has no VersionId, IsDeleteMarker, expected the columns of an S3 Inventory report"),
    ({"fileSchema": "Bucket, Key, VersionId, Size, ETag, LastModifiedDate"},
     "fileSchema has no IsLatest, IsDeleteMarker, expected the columns of an S3 Inventory report"),
    ({"fileSchema": "Bucket, Size, ETag, LastModifiedDate"}, "fileSchema has no Key, expected the columns of an S3 Inventory report"),
    ({"fileSchema": "Bucket, Key, Size, ETag, LastModifiedDate, E_Tag"}, "fileSchema names a column twice"),
    ({"files": {}}, "expected files as a list"),
    ({"files": [FILE, FILE | {"size": 2}]}, "names a file twice"),
    ({"files": [FILE, FILE | {"size": -1}]}, "files[1]: expected key, size and MD5checksum"),
    ({"files": [FILE | {"size": True}]}, "files[0]: expected key, size and MD5checksum"),
    ({"files": [{"key": "a", "size": 1}]}, "files[0]: expected key, size and MD5checksum"),
    ({"files": ["a"]}, "files[0]: expected key, size and MD5checksum"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "expected"), REFUSED)
def test_what_is_not_understood_is_refused_in_one_line(change: dict[str, Any], expected: str) -> None:
    with pytest.raises(Refused) as refused:
        _parse(json.dumps(json.loads(DOCUMENTED_CSV) | change))
    assert str(refused.value) == f"{WHERE}: {expected}"


@pytest.mark.parametrize("text", ["", "[]", "{", '"manifest"', "\x00"])
def test_what_is_no_json_object_is_refused(text: str) -> None:
    with pytest.raises(Refused, match=r"manifest\.json: (not JSON|expected a JSON object)"):
        _parse(text)


@pytest.mark.parametrize(
    "key", ["manifest.json", "daily/manifest.json", "2018-13-03T02-00Z/manifest.json", "2018-01-03T02-00/manifest.json"]
)
def test_a_manifest_outside_a_stamped_folder_is_refused(key: str) -> None:
    with pytest.raises(Refused, match="expected a folder named YYYY-MM-DDTHH-MMZ around it"):
        _parse(DOCUMENTED_CSV, key=key)


def test_no_files_is_an_empty_bucket() -> None:
    assert _parse(json.dumps(json.loads(DOCUMENTED_CSV) | {"files": []})).files == ()


@pytest.mark.parametrize(
    ("location", "folder"),
    [
        ("s3://inv/media/daily/", "media/daily/"),
        ("s3://inv/media/daily/2018-01-03T02-00Z/", "media/daily/"),
        ("s3://inv/media/daily/2018-01-03T02-00Z/manifest.json", "media/daily/"),
    ],
)
def test_the_folder_of_the_reports_and_their_files_is_known_without_asking(location: str, folder: str) -> None:
    assert report_folder(location) == ("inv", folder)


@pytest.mark.parametrize("location", ["s3://inv", "s3:///a/", "https://inv/a/", "s3://inv/a", "inv/a/", "s3://inv/manifest.json5"])
def test_a_location_that_is_none_is_refused(location: str) -> None:
    with pytest.raises(Refused, match=r"expected s3://bucket/prefix/ or s3://bucket/…/manifest\.json"):
        report_folder(location)
