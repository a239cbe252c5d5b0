"""The fast page parser against botocore's own: the same rows for every legal key, or it steps back."""

from datetime import UTC, datetime
from urllib.parse import quote_plus
from xml.sax.saxutils import escape

import boto3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orphan_pipeline.inventory.listing.oracle import Oracle
from orphan_pipeline.inventory.listing.page import BrokenPage, Kind, Page
from orphan_pipeline.inventory.listing.pages import parse_fast

KEYS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40) | st.sampled_from(
    [
        "a//b",
        "/a",
        "./a",
        "a ",
        " ",
        "'\"",
        "&amp;",
        "&",
        "<Key>",
        "]]>",
        "\u00fc",
        "u\u0308",
        "\U0001f600",
        "+",
        "%2B",
        "%",
        "a\nb",
        "a\r\nb",
        "x" * 1024,
    ]
)
ETAGS = st.sampled_from(["d41d8cd98f00b204e9800998ecf8427e", "9e107d9d372bb6826bd81d3542a419d6-17"])
EXTRAS = st.sampled_from(
    [
        "",
        "<ChecksumAlgorithm>CRC32</ChecksumAlgorithm><ChecksumType>COMPOSITE</ChecksumType>",
        "<Owner><ID>75aa57f0</ID><DisplayName>me</DisplayName></Owner>",
        "<RestoreStatus><IsRestoreInProgress>false</IsRestoreInProgress></RestoreStatus>",
    ]
)

QUOTATIONS = [
    ["&quot;a&quot;"],
    ['"a"'],
    ["&#34;a&#34;"],
    ["a"],
    ["&quot;&quot;"],
    ["&quot;"],
    ['""a""'],
    ["&quot;a"],
    ["a&quot;"],
    ["&quot;a&amp;b&quot;"],
    ["&quot;a&quot;", "b", '"c"'],
    ["&quot;a&quot;", "&quot;"],
    ['"', '"a"'],
]


@pytest.fixture(scope="module")
def parser() -> Oracle:
    client = boto3.client("s3", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="y")
    return Oracle(client)


@pytest.fixture(scope="module")
def versions_parser() -> Oracle:
    client = boto3.client("s3", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="y")
    return Oracle(client, Kind.VERSIONS)


def parsed(body: bytes, parser: Oracle) -> Page:
    """As a listing reads its pages."""
    return parse_fast(body) or parser.parse(body)


def record(
    key: str, *, etag: str = "0" * 32, size: int = 5, extra: str = "", quote: str = "&quot;", time: str = "2026-01-02T03:04:05.678Z"
) -> str:
    return (
        f"<Contents><Key>{escape(quote_plus(key, safe='/'))}</Key><LastModified>{time}</LastModified><ETag>{quote}{etag}{quote}</ETag>"
        f"{extra}<Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
    )


def page(*records: str, prefixes: tuple[str, ...] = (), more: str | None = None, count: int | None = None, counted: bool = True) -> bytes:
    below = "".join(f"<CommonPrefixes><Prefix>{quote_plus(prefix, safe='/')}</Prefix></CommonPrefixes>" for prefix in prefixes)
    found = len(records) + len(prefixes) if count is None else count
    token = f"<NextContinuationToken>{escape(more)}</NextContinuationToken>" if more is not None else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><Prefix></Prefix>'
        f"{f'<KeyCount>{found}</KeyCount>' if counted else ''}<MaxKeys>1000</MaxKeys><EncodingType>url</EncodingType>"
        f"<IsTruncated>{str(more is not None).lower()}</IsTruncated>{token}{''.join(records)}{below}</ListBucketResult>"
    ).encode()


@settings(deadline=None, max_examples=300)
@given(
    objects=st.lists(st.tuples(KEYS, ETAGS, st.integers(0, 5 * 2**40), EXTRAS), max_size=12),
    prefixes=st.lists(KEYS, max_size=3),
    more=st.none() | st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S")), min_size=1),
    counted=st.booleans(),
)
def test_both_parsers_give_the_same_page(
    parser: Oracle, objects: list[tuple[str, str, int, str]], prefixes: list[str], more: str | None, counted: bool
) -> None:
    """Not every store counts."""
    body = page(*(record(k, etag=e, size=s, extra=x) for k, e, s, x in objects), prefixes=tuple(prefixes), more=more, counted=counted)
    fast, slow = parse_fast(body), parser.parse(body)
    assert fast is not None, "nothing here is unusual enough for the slow way"
    assert fast.objects.equals(slow.objects)
    assert fast.objects["key"].to_pylist() == [key for key, *_ in objects]
    assert (fast.common_prefixes, fast.truncated, fast.next_token) == (tuple(prefixes), more is not None, more)
    assert (slow.common_prefixes, slow.truncated, slow.next_token) == (tuple(prefixes), more is not None, more)


@settings(deadline=None, max_examples=300)
@given(
    keys=st.lists(KEYS, min_size=1, max_size=6),
    place=st.integers(min_value=0),
    what=st.sampled_from(
        [
            b"",
            b"<",
            b">",
            b"&",
            b"<Key>",
            b"</Contents>",
            b"<Size>7</Size>",
            b"<!--x-->",
            b"\xff",
            b" ",
            b"<Key/>",
            b" x=''",
            b"/",
            b"<Contents/>",
            b"<Version/>",
        ]
    ),
    cut=st.integers(0, 30),
    kind=st.sampled_from(Kind),
)
def test_a_damaged_page_is_read_as_botocore_reads_it_or_not_at_all(
    parser: Oracle, versions_parser: Oracle, keys: list[str], place: int, what: bytes, cut: int, kind: Kind
) -> None:
    if kind is Kind.OBJECTS:
        body = page(*(record(key) for key in keys), counted=False)
    else:
        of_keys = (version(key, "v", latest=True, marker=n % 2 > 0, etag="e", size=5, extra="") for n, key in enumerate(keys))
        body, parser = page_of_versions(*of_keys), versions_parser
    at = place % len(body)
    damaged = body[:at] + what + body[at + cut :]
    fast = parse_fast(damaged, kind)
    if fast is None:
        return
    try:
        slow = parser.parse(damaged)
    except BrokenPage:
        # What is no XML only counts where the rest of the page cannot tell; it must at least be complete in itself.
        assert fast.objects.num_rows + len(fast.common_prefixes) <= len(keys) + 1
        return
    except (KeyError, ValueError):
        pytest.fail(f"the fast parser believed a page that botocore cannot read: {damaged!r}")
    assert fast.objects["key"].to_pylist() == slow.objects["key"].to_pylist()


@pytest.mark.parametrize(
    "unusual",
    [
        page(record("a"), record("b")).replace(b"</Contents>", b"", 1),
        page(record("a")).replace(b"<Contents>", b"<Around><Contents>").replace(b"</Contents>", b"</Contents></Around>"),
        page(record("a")).replace(b"<Contents>", b"<!-- <Contents>").replace(b"</Contents>", b"</Contents> -->"),
        page(record("a"), record("b")).replace(b"</Contents><Contents>", b"</Contents>x<Contents>"),
        page(record("a"), record("b")).replace(b"</Key><LastModified>", b"</Key>x<LastModified>", 1),
        page(record("a")).replace(b"<Size>5</Size>", b"<Size>5</Size><Size>6</Size>"),
        page(record("a")).replace(b"<Size>5</Size>", b"<Size><Much>5</Much></Size>"),
        page(record("a")).replace(b"UTF-8", b"ISO-8859-1"),
        page(record("a")).replace(b"<Key>a", b"<Key>%4"),
        page(record("a"), record("b")).replace(b"<Key>a", b"<Key>%").replace(b"<Key>b", b"<Key>41"),
        page(prefixes=("a/",)).replace(b"<Prefix>a/</Prefix>", b"<Prefix>a/</Prefix><Prefix>b/</Prefix>"),
        page(record("a")).replace(b"<Size>5<", b"<Size>0x10<"),
        page(record("a")).replace(b"STANDARD", b"A&amp;B"),
        page(record("a")).replace(b"<Key>", b"<Key >"),
        page(record("a", time="2026-01-02T03:04:05+00:00")).replace(b"+00:00", b"+0000 "),
        page(record("a"), count=2),
        page(record("a")).replace(b"<IsTruncated>false</IsTruncated>", b"<IsTruncated>False</IsTruncated>"),
        page(record("a")).replace(b"<EncodingType>url</EncodingType>", b"").replace(b"<Key>a", b"<Key>a&amp;b"),
        *(page(record("a"), counted=False).replace(b"<Contents>", written) for written in (b"<Contents >", b"<Contents x='1'>")),
        page(record("a"), record("b"), counted=False).replace(b"<Contents>", b"<Contents >", 1),
        page(record("a"), counted=False).replace(b"<Contents>", b"<Contents/><Contents>"),
        page(counted=False).replace(b"</ListBucketResult>", b"<Contents/></ListBucketResult>"),
    ],
)
def test_what_is_unusual_goes_to_the_slow_parser(unusual: bytes) -> None:
    assert parse_fast(unusual) is None


@pytest.mark.parametrize(
    "usual",
    [
        page(record("a"), record("b")).replace(b"<StorageClass>STANDARD</StorageClass>", b"", 1),
        page(record("a"), record("b")).replace(b"<Contents>", b"<Contents><Strange>1</Strange>", 1),
        page(record("a"), record("b")).replace(b"<ETag>", b"<Owner/><ETag>", 1),
        page(record("a"), record("b"), prefixes=("c/", "d/")).replace(b"><", b">\n  <").replace(b">\n  </Key>", b"></Key>"),
        page(record("a>b"), record("b")).replace(b"%3E", b">"),
        page(*(record(f"k{n}", extra="<Extra>1</Extra>" * (n % 5)) for n in range(40))),
    ],
)
def test_records_may_differ_in_form_and_be_read_fast(parser: Oracle, usual: bytes) -> None:
    fast, slow = parse_fast(usual), parser.parse(usual)
    assert fast is not None
    assert fast.objects.to_pylist() == slow.objects.to_pylist()
    assert (fast.common_prefixes, fast.truncated, fast.next_token) == (slow.common_prefixes, slow.truncated, slow.next_token)


def test_more_forms_than_any_store_has_are_read_slowly(parser: Oracle) -> None:
    found = parsed(page(*(record(f"k{n:02d}", extra="<Extra>1</Extra>" * n) for n in range(40))), parser)
    assert not found.fast
    assert found.objects["key"].to_pylist() == [f"k{n:02d}" for n in range(40)]


VERSION_IDS = st.sampled_from(["null", "3sL4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY", "UIORUnfndfiufdisojhr398493jfdkjFJjkndnqUifhnw89493jJFJ"])


def version(key: str, version_id: str, *, latest: bool, marker: bool, etag: str, size: int, extra: str) -> str:
    tag = "DeleteMarker" if marker else "Version"
    content = "" if marker else f"<ETag>&quot;{etag}&quot;</ETag><Size>{size}</Size><StorageClass>GLACIER</StorageClass>"
    return (
        f"<{tag}><Key>{escape(quote_plus(key, safe='/'))}</Key><VersionId>{version_id}</VersionId>"
        f"<IsLatest>{str(latest).lower()}</IsLatest>"
        f"<LastModified>2026-01-02T03:04:05.678Z</LastModified>{content}{extra}</{tag}>"
    )


def page_of_versions(*records: str, more: str = "") -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<ListVersionsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name>'
        f"<Prefix></Prefix><KeyMarker></KeyMarker><VersionIdMarker></VersionIdMarker><EncodingType>url</EncodingType>"
        f"<IsTruncated>{str(bool(more)).lower()}</IsTruncated>{more}{''.join(records)}</ListVersionsResult>"
    ).encode()


@pytest.mark.parametrize("tags", [(b"<Version>", b"<Version >"), (b"<DeleteMarker>", b"<DeleteMarker x='1'>")])
def test_a_record_of_a_version_that_is_written_otherwise_is_not_passed_over(versions_parser: Oracle, tags: tuple[bytes, bytes]) -> None:
    rows = [version(key, "v", latest=True, marker=key == "b", etag="e", size=5, extra="") for key in "abc"]
    damaged = page_of_versions(*rows).replace(*tags, 1)
    assert parse_fast(damaged, Kind.VERSIONS) is None
    assert versions_parser.parse(damaged).objects["key"].to_pylist() == ["a", "b", "c"]


@settings(deadline=None, max_examples=200)
@given(
    objects=st.lists(
        st.tuples(KEYS, VERSION_IDS, st.booleans(), st.booleans(), ETAGS, st.integers(0, 5 * 2**40), EXTRAS), max_size=12, unique_by=str
    ),
    marker=st.none() | st.tuples(KEYS, VERSION_IDS),
)
def test_both_parsers_give_the_same_versions(
    versions_parser: Oracle, objects: list[tuple[str, str, bool, bool, str, int, str]], marker: tuple[str, str] | None
) -> None:
    rows = [version(k, v, latest=now, marker=m, etag=e, size=s, extra=x) for k, v, now, m, e, s, x in objects]
    key, version_id = marker or ("", "")
    more = f"<NextKeyMarker>{quote_plus(key, safe='/')}</NextKeyMarker><NextVersionIdMarker>{version_id}</NextVersionIdMarker>"
    body = page_of_versions(*rows, more=more if marker else "")
    fast, slow = parse_fast(body, Kind.VERSIONS), versions_parser.parse(body)
    assert fast is not None
    assert fast.objects["key"].to_pylist() == [key for key, *_ in objects]
    assert fast.objects["is_delete_marker"].to_pylist() == [m for _, _, _, m, *_ in objects]
    assert fast.objects.to_pylist() == slow.objects.to_pylist()
    assert (fast.truncated, fast.next_token) == (slow.truncated, slow.next_token) == (marker is not None, marker)


@pytest.mark.parametrize("quote", ["&quot;", "&#34;", '"', ""])
def test_quotes_of_an_etag_may_be_written_in_any_way(parser: Oracle, quote: str) -> None:
    found = parsed(page(record("a", quote=quote), record("b", quote=quote)), parser)
    assert found.fast
    assert found.objects["etag"].to_pylist() == ["0" * 32] * 2


def test_a_store_without_storage_classes_and_with_another_namespace_is_read_fast(parser: Oracle) -> None:
    body = page(record("a"), record("b")).replace(b"<StorageClass>STANDARD</StorageClass>", b"")
    found = parsed(body.replace(b"s3.amazonaws.com/doc/2006-03-01/", b"doc.s3.amazonaws.com/2006-03-01"), parser)
    assert found.fast
    assert found.objects["storage_class"].to_pylist() == ["STANDARD"] * 2


@pytest.mark.parametrize(
    "broken", [page(record("a")).replace(b"<Key>a", b"<Key>a%FF"), page(record("a")).replace(b"<Size>5</Size>", b"<Size/>")]
)
def test_what_botocore_would_guess_at_is_a_broken_page(parser: Oracle, broken: bytes) -> None:
    with pytest.raises(BrokenPage):
        parsed(broken, parser)


def test_the_slow_parser_reads_what_the_fast_one_leaves(parser: Oracle) -> None:
    body = page(record("a")).replace(b"<EncodingType>url</EncodingType>", b"").replace(b"<Key>a", b"<Key>a&amp;b%2Bc")
    found = parsed(body, parser)
    assert not found.fast
    assert found.objects.to_pylist() == [
        {
            "key": "a&b%2Bc",
            "size": 5,
            "last_modified": datetime(2026, 1, 2, 3, 4, 5, 678000, UTC),
            "etag": "0" * 32,
            "storage_class": "STANDARD",
        }
    ]


@pytest.mark.parametrize("cut", [1, 18, 19, 60, 400])
def test_a_page_that_is_cut_off_is_broken(parser: Oracle, cut: int) -> None:
    with pytest.raises(BrokenPage, match="without </ListBucketResult>"):
        parsed(page(record("a"), record("b"))[:-cut], parser)


def test_an_empty_bucket_is_a_page_without_objects(parser: Oracle) -> None:
    found = parsed(page(), parser)
    assert (found.objects.num_rows, found.truncated, found.fast) == (0, False, True)


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("texts", QUOTATIONS)
def test_quotes_of_etags_are_taken_off_as_botocore_s_reader_takes_them_off(parser: Oracle, texts: list[str], count: int) -> None:
    body = page(*(record(f"k{n}", etag=text, quote="") for n, text in enumerate(texts * count)))
    slow = parser.parse(body)
    fast = parse_fast(body)
    assert fast is None or fast.objects.equals(slow.objects)
    assert parsed(body, parser).objects.equals(slow.objects)


@pytest.mark.parametrize(
    "key", ["%C3%BC", "a%2Bb+c%25", "%", "a%4", "%zz", "%%41", "%FF", "%C3", "a%C3%28", "%E2%82%AC%E2%82%AC", "%00", "%0D%0A"]
)
def test_escapes_are_decoded_as_botocore_s_reader_decodes_them_or_not_at_all(parser: Oracle, key: str) -> None:
    body = page(record("before/%C3"), record("x"), record("y")).replace(b"<Key>x<", f"<Key>{key}<".encode())
    fast = parse_fast(body)
    if fast is not None:
        assert fast.objects.equals(parser.parse(body).objects)
    assert (fast is None) == (key in {"%", "a%4", "%zz", "%%41", "%FF", "%C3", "a%C3%28"})
