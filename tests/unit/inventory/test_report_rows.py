"""The rows of a report's files are exactly what was written, in all three formats, or the file is refused."""

import gzip
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pyarrow as pa
import pyarrow.orc as pa_orc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from report_writer import FORMATS, OPTIONAL, VERSION_FIELDS, Version, csv_file, report_file

from orphan_pipeline.errors import Refused
from orphan_pipeline.inventory.columns import LISTED, VERSIONS
from orphan_pipeline.inventory.reports.manifest import column
from orphan_pipeline.inventory.reports.rows import BATCH_ROWS, ReportRows, decode_keys, read_rows

AWKWARD = [
    "a b.jpg", "a+b.jpg", "a%2Bb.jpg", "a%20b", "%", "%%", "100%", "+", " ", " lead", "trail ", "line\nbreak", "cr\rlf\r\n", "tab\t",
    'quo"te', '""', '"', "com,ma", "semi;colon", "a'b", "/lead", "a//b", "a/./b", "../up", "\\back", "null\x00byte", "\x01\x1f\x7f",
    "&amp;", "<x>", "ünï", "u\u0308", "\u00fc", "日本語/ファイル", "emoji-🎉/👩‍👩‍👧", "\ufeffbom", "\u2028", "true", "null", "NaN", "0x10",
    "~*-_.!()", "é" * 512,
]  # fmt: skip
KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
FIELDS = ("Bucket", "Key", *OPTIONAL)
VERSIONED = ("Bucket", "Key", *VERSION_FIELDS, *OPTIONAL)
WHERE = "s3://inv/data/1"
TIME = datetime(2026, 11, 1, 12, 30, 15, 250_000, tzinfo=UTC)


def _read(folder: Path, form: str, content: bytes, fields: Sequence[str]) -> list[ReportRows]:
    path = folder / "file"
    path.write_bytes(content)
    columns = tuple(column(field) for field in fields)
    return list(read_rows(path, form=form, columns=columns, source_bucket="source", where=WHERE))


def _listed(folder: Path, form: str, versions: Sequence[Version], fields: Sequence[str] = FIELDS) -> list[dict[str, Any]]:
    batches = _read(folder, form, report_file(form, "source", fields, versions), fields)
    assert all(batch.listed.schema == LISTED for batch in batches)
    assert sum(batch.rows for batch in batches) == len(versions)
    return [row for batch in batches for row in batch.listed.to_pylist()]


def _row(version: Version) -> dict[str, Any]:
    return {
        "key": version.key,
        "size": version.size,
        "last_modified": version.last_modified,
        "etag": version.etag,
        "storage_class": version.storage_class or "STANDARD",
    }


@pytest.mark.parametrize("form", FORMATS)
def test_awkward_keys_are_exact(tmp_path: Path, form: str) -> None:
    versions = [Version(key=key, size=n, etag=f"{n:032x}-{n}") for n, key in enumerate(AWKWARD)]
    assert _listed(tmp_path, form, versions) == [_row(version) for version in versions]


@pytest.mark.parametrize("form", FORMATS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(keys=st.lists(KEYS, min_size=1, max_size=20), size=st.integers(0, 5 * 2**40))
def test_any_key_is_exact(tmp_path: Path, form: str, keys: list[str], size: int) -> None:
    versions = [Version(key=key, size=size) for key in keys]
    assert _listed(tmp_path, form, versions) == [_row(version) for version in versions]


@settings(max_examples=200, deadline=None)
@given(keys=st.lists(KEYS, min_size=1, max_size=20))
def test_keys_decode_whichever_way_a_space_is_encoded(keys: list[str]) -> None:
    for encode in (quote_plus, quote, lambda key: quote_plus(key, safe="/*()!'")):
        assert decode_keys(pa.array([encode(key) for key in keys]), WHERE).to_pylist() == keys


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("a b", "the key 'a b' is not URL-encoded, as the keys of a CSV report are"),
        ("ü", "the key 'ü' is not URL-encoded, as the keys of a CSV report are"),
        ("a\n", "the key 'a\\n' is not URL-encoded, as the keys of a CSV report are"),
        ("100%", "the key '100%' is not URL-encoded, as the keys of a CSV report are"),
        ("%4", "the key '%4' is not URL-encoded, as the keys of a CSV report are"),
        ("%4g", "the key '%4g' is not URL-encoded, as the keys of a CSV report are"),
        ("%ff", "a key is not UTF-8: b'\\xff'"),
        ("%ED%A0%80", "a key is not UTF-8: b'\\xed\\xa0\\x80'"),
    ],
)
def test_a_key_that_is_not_encoded_is_refused_not_guessed_at(raw: str, expected: str) -> None:
    with pytest.raises(Refused) as refused:
        decode_keys(pa.array(["fine", raw]), WHERE)
    assert str(refused.value) == f"{WHERE}: {expected}"


@pytest.mark.parametrize("form", FORMATS)
def test_only_current_objects_of_a_versioned_report_are_listed(tmp_path: Path, form: str) -> None:
    versions = [
        Version(key="kept", version_id="3", etag="new"),
        Version(key="kept", version_id="2", etag="old", latest=False),
        Version(key="deleted", version_id="9", delete_marker=True),
        Version(key="deleted", version_id="8", latest=False),
        Version(key="restored", version_id="7"),
        Version(key="restored", version_id="6", latest=False, delete_marker=True),
    ]
    content = report_file(form, "source", VERSIONED, versions)
    (batch,) = _read(tmp_path, form, content, VERSIONED)
    assert batch.listed.to_pylist() == [_row(versions[0]), _row(versions[4])]
    assert (batch.rows, batch.noncurrent, batch.delete_markers) == (6, 3, 1)


@pytest.mark.parametrize("form", FORMATS)
def test_every_version_of_a_versioned_report_is_listed_where_asked(tmp_path: Path, form: str) -> None:
    versions = [
        Version(key="kept", version_id="3", etag="new-2"),
        Version(key="kept", version_id="2", etag="old", latest=False),
        Version(key="deleted", version_id="9", delete_marker=True),
        Version(key="deleted", version_id="8", latest=False),
        Version(key="before versioning", version_id=""),
    ]
    path = tmp_path / "file"
    path.write_bytes(report_file(form, "source", VERSIONED, versions))
    columns = tuple(column(field) for field in VERSIONED)
    (batch,) = read_rows(path, form=form, columns=columns, source_bucket="source", where=WHERE, versions=True)
    assert batch.listed.schema == VERSIONS
    assert batch.listed.to_pylist() == [
        {
            **_row(version),
            **({"size": 0, "etag": ""} if version.delete_marker else {}),
            "version_id": version.version_id or None,
            "is_latest": version.latest,
            "is_delete_marker": version.delete_marker,
        }
        for version in versions
    ]
    assert (batch.rows, batch.noncurrent, batch.delete_markers) == (5, 2, 1)


@pytest.mark.parametrize("form", FORMATS)
def test_many_rows_come_in_bounded_batches_in_their_order(tmp_path: Path, form: str) -> None:
    versions = [Version(key=f"uploads/{n:06}+{n % 7}.jpg", size=n) for n in range(3 * BATCH_ROWS + 1)]
    content = report_file(form, "source", FIELDS, versions)
    batches = _read(tmp_path, form, content, FIELDS)
    assert form != "ORC" or pa_orc.ORCFile(str(tmp_path / "file")).nstripes > 3
    assert form != "Parquet" or pq.read_metadata(tmp_path / "file").num_row_groups > 3
    assert len(batches) > 3
    assert max(batch.rows for batch in batches) <= BATCH_ROWS
    assert [key for batch in batches for key in batch.listed.column("key").to_pylist()] == [version.key for version in versions]


@pytest.mark.parametrize("form", FORMATS)
def test_without_storage_classes_an_object_is_standard(tmp_path: Path, form: str) -> None:
    few = ("Bucket", "Key", "ETag", "LastModifiedDate", "Size")
    assert _listed(tmp_path, form, [Version(key="a")], few) == [_row(Version(key="a"))]
    versions = [Version(key="a", storage_class=None), Version(key="b", storage_class="GLACIER")]
    assert _listed(tmp_path, form, versions) == [_row(version) for version in versions]


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_without_rows_lists_nothing(tmp_path: Path, form: str) -> None:
    assert _listed(tmp_path, form, []) == []


@pytest.mark.parametrize("form", FORMATS)
def test_a_row_of_another_bucket_is_refused(tmp_path: Path, form: str) -> None:
    content = report_file(form, "other", FIELDS, [Version(key="a")])
    with pytest.raises(Refused, match=f"^{WHERE}: a row of bucket 'other', expected 'source'$"):
        _read(tmp_path, form, content, FIELDS)


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_of_another_format_is_refused_in_one_line(tmp_path: Path, form: str) -> None:
    for content in (b"", b"PAR1", b"\x1f\x8b", gzip.compress(b"")[:12], b"no such thing\n" * 100):
        with pytest.raises(Refused, match=f"^{WHERE}: does not read as {form}: [^\n]+$"):
            _read(tmp_path, form, content, FIELDS)


GOOD = ["source", "a", "v", "true", "false", "7", "2026-11-01T12:30:15.250Z", "etag", "STANDARD"]
NINE = ("Bucket", "Key", *VERSION_FIELDS, "Size", "LastModifiedDate", "ETag", "StorageClass")


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        (1, "", "a row does not parse: key is empty"),
        (3, "yes", "a row does not parse: islatest is 'yes', expected true or false"),
        (3, "", "a row does not parse: islatest is '', expected true or false"),
        (4, "0", "a row does not parse: isdeletemarker is '0', expected true or false"),
        (5, "", "a row does not parse: size: Failed to parse string: ''"),
        (5, "7.5", "a row does not parse: size: Failed to parse string: '7.5'"),
        (5, str(2**63), "a row does not parse: size: Failed to parse string: '9223372036854775808'"),
        (6, "", "a row does not parse: lastmodifieddate: Failed to parse string: ''"),
        (6, "2026-11-01T12:30:15", "a row does not parse: lastmodifieddate: Failed to parse string: '2026-11-01T12:30:15'"),
        (7, "", "a row does not parse: etag is empty"),
    ],
)
def test_a_value_that_does_not_parse_is_refused(tmp_path: Path, place: int, value: str, expected: str) -> None:
    bad = [value if n == place else good for n, good in enumerate(GOOD)]
    with pytest.raises(Refused) as refused:
        _read(tmp_path, "CSV", csv_file([GOOD, bad, GOOD]), NINE)
    assert str(refused.value).startswith(f"{WHERE}: {expected}")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("bad", [GOOD[:-1], [*GOOD, ""], [""]])
def test_a_row_with_other_fields_than_the_schema_is_refused(tmp_path: Path, bad: list[str]) -> None:
    with pytest.raises(Refused, match=r"does not read as CSV: .*Expected 9 columns"):
        _read(tmp_path, "CSV", csv_file([GOOD, bad, GOOD]), NINE)


def test_an_empty_line_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused):
        _read(tmp_path, "CSV", gzip.compress(gzip.decompress(csv_file([GOOD])) + b"\n"), NINE)


def test_csv_of_several_gzip_members_is_read_whole_and_a_cut_one_refused(tmp_path: Path) -> None:
    two = csv_file([GOOD]) + csv_file([GOOD, GOOD])
    assert sum(batch.rows for batch in _read(tmp_path, "CSV", two, NINE)) == 3
    with pytest.raises(Refused, match="does not read as CSV"):
        _read(tmp_path, "CSV", csv_file([GOOD] * 1000)[:-9], NINE)


def test_an_etag_loses_its_quotes_and_nothing_else(tmp_path: Path) -> None:
    quoted = ['"9e10-3"' if value == "etag" else value for value in GOOD]
    (batch,) = _read(tmp_path, "CSV", csv_file([quoted]), NINE)
    assert batch.listed.column("etag").to_pylist() == ["9e10-3"]


@pytest.mark.parametrize("form", ["ORC", "Parquet"])
def test_columns_that_differ_from_the_manifest_are_refused(tmp_path: Path, form: str) -> None:
    content = report_file(form, "source", FIELDS, [Version(key="a", latest=False)])
    with pytest.raises(Refused, match=r"its columns are not those of the manifest's fileSchema \(isdeletemarker, islatest, versionid\)"):
        _read(tmp_path, form, content, VERSIONED)
    content = report_file(form, "source", VERSIONED, [Version(key="a", latest=False)])
    with pytest.raises(Refused, match=r"its columns are not those of the manifest's fileSchema \(isdeletemarker, islatest, versionid\)"):
        _read(tmp_path, form, content, FIELDS)


@pytest.mark.parametrize("form", ["ORC", "Parquet"])
@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("size", pa.array([None], pa.int64()), "a row does not parse: size is empty"),
        ("e_tag", pa.array([None], pa.string()), "a row does not parse: etag is empty"),
        ("key", pa.array([""]), "a row does not parse: key is empty"),
        ("is_latest", pa.array([None], pa.bool_()), "a row does not parse: islatest is empty"),
        ("last_modified_date", pa.array([1762000215250], pa.int64()), "LastModifiedDate is of type int64, expected a timestamp"),
        ("size", pa.array(["seven"]), "a row does not parse: size: Failed to parse string: 'seven'"),
    ],
)
def test_columns_with_gaps_or_of_other_types_are_refused(tmp_path: Path, form: str, name: str, values: Any, expected: str) -> None:
    table = pa.table(
        {
            "bucket": ["source"],
            "key": ["a"],
            "is_latest": [True],
            "is_delete_marker": [False],
            "size": [7],
            "last_modified_date": pa.array([TIME], pa.timestamp("ms", tz="UTC")),
            "e_tag": ["e"],
        }
    )
    table = table.set_column(table.schema.get_field_index(name), name, values)
    path = tmp_path / "made"
    (pa_orc.write_table if form == "ORC" else pq.write_table)(table, str(path))
    with pytest.raises(Refused) as refused:
        _read(tmp_path, form, path.read_bytes(), ("Bucket", "Key", "IsLatest", "IsDeleteMarker", "Size", "LastModifiedDate", "ETag"))
    assert str(refused.value).startswith(f"{WHERE}: {expected}")


@pytest.mark.parametrize("form", ["ORC", "Parquet"])
def test_a_file_that_names_a_column_twice_is_refused(tmp_path: Path, form: str) -> None:
    table = pa.table({"bucket": ["source"], "key": ["a"], "size": [7], "last_modified_date": [TIME], "e_tag": ["e"], "etag": ["f"]})
    path = tmp_path / "made"
    (pa_orc.write_table if form == "ORC" else pq.write_table)(table, str(path))
    with pytest.raises(Refused, match="a name twice"):
        _read(tmp_path, form, path.read_bytes(), ("Bucket", "Key", "Size", "LastModifiedDate", "ETag"))


@pytest.mark.parametrize("form", ["ORC", "Parquet"])
def test_a_key_that_is_not_utf8_is_refused(tmp_path: Path, form: str) -> None:
    table = pa.table({"bucket": ["source"], "key": ["a"], "size": [7], "last_modified_date": [TIME], "e_tag": ["e"]})
    table = table.set_column(1, "key", pa.array([b"latin-\xe9"]).view(pa.string()))
    path = tmp_path / "made"
    (pa_orc.write_table if form == "ORC" else pq.write_table)(table, str(path))
    with pytest.raises(Refused, match=f"does not read as {form}: .*[Ii]nvalid UTF8"):
        _read(tmp_path, form, path.read_bytes(), ("Bucket", "Key", "Size", "LastModifiedDate", "ETag"))


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_in_memory_does_not_grow_with_the_file(tmp_path: Path, form: str) -> None:
    rows = 300_000
    keys = [f"uploads/{n:08}.jpg" for n in range(rows)]
    few = ("Bucket", "Key", "ETag", "LastModifiedDate", "Size")
    path = tmp_path / "made"
    if form == "CSV":
        path.write_bytes(csv_file([["source", key, "e" * 32, "2026-11-01T12:30:15.250Z", "7"] for key in keys]))
    else:
        time = pa.array([TIME] * rows, pa.timestamp("ms", tz="UTC"))
        columns = {"bucket": ["source"] * rows, "key": keys, "e_tag": ["e" * 32] * rows, "last_modified_date": time, "size": [7] * rows}
        if form == "ORC":
            pa_orc.write_table(pa.table(columns), str(path), compression="ZLIB")
        else:
            pq.write_table(pa.table(columns), path, row_group_size=rows)
    before, most, seen = pa.total_allocated_bytes(), 0, 0
    for batch in read_rows(path, form=form, columns=tuple(map(column, few)), source_bucket="source", where=WHERE):
        most = max(most, pa.total_allocated_bytes() - before)
        seen += batch.rows
    assert seen == rows
    assert most < 24 * 2**20  # the rows together are over 30 MB in Arrow's memory
