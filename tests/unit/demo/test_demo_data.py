import json
from urllib.parse import unquote

import duckdb
import pyarrow as pa
import pytest

from orphan_pipeline.demo.data import CDN, PARTITIONS, REFERENCED, Case, DemoData, demo_data, partition_of
from orphan_pipeline.inventory.prefixes import OwnedPrefix, partition_expression


@pytest.fixture(scope="module")
def data() -> DemoData:
    return demo_data(2_000)


def test_same_for_the_same_seed(data: DemoData) -> None:
    assert demo_data(2_000) == data
    assert demo_data(2_000, seed=8) != data


@pytest.mark.parametrize("objects", [200, 999, 20_000])
def test_has_every_case_and_the_number_asked_for(objects: int) -> None:
    data = demo_data(objects)
    assert len(data.objects) == objects
    assert all(data.keys(case) for case in Case)
    assert data.dangling.isdisjoint(data.objects)


def test_too_few_objects_are_refused() -> None:
    with pytest.raises(ValueError, match="found 199 objects, expected at least 200"):
        demo_data(199)


def test_the_rows_say_what_the_truth_says(data: DemoData) -> None:
    live = {key for key in map(_key_of, _attachments(data.documents)) if key is not None}
    past = {key for key in map(_key_of, _attachments(data.history)) if key is not None}
    assert live - data.dangling == data.keys(Case.LIVE, Case.BOTH)
    assert past - data.dangling == data.keys(Case.HISTORY, Case.BOTH)
    assert (live | past) & data.dangling == data.dangling
    assert live & data.dangling
    assert past & data.dangling


def test_live_attachments_come_in_all_shapes(data: DemoData) -> None:
    shapes = {"string" if isinstance(item, str) else ",".join(item) for item in _attachments(data.documents)}
    assert shapes == {"string", "name,key", "external"}


def test_orphans_are_about_a_third_and_one_partition_is_cleaner(data: DemoData) -> None:
    shares = {
        partition: len(data.keys(Case.ORPHAN, partition=partition)) / len(data.keys(*Case, partition=partition)) for partition in PARTITIONS
    }
    assert shares["avatars/"] < 0.1
    assert all(0.2 < share < 0.5 for partition, share in shares.items() if partition != "avatars/")
    assert 0.27 < len(data.keys(Case.ORPHAN)) / len(data.objects) < 0.33


def test_odd_keys_occur_among_referenced_and_orphans_alike(data: DemoData) -> None:
    for cases in (REFERENCED, {Case.ORPHAN}):
        text = "".join(data.keys(*cases))
        assert all(odd in text for odd in " +%'\"&<()?#")
        assert "%2B" in text
        assert "caf\u00e9" in text  # composed
        assert "cafe\u0301" in text  # decomposed
        assert "日本語" in text
        assert "🦭" in text


def test_no_key_is_one_that_the_store_would_rewrite(data: DemoData) -> None:
    assert not [key for key in data.objects if key.startswith("/") or "//" in key or "\\" in key]


def test_bodies_differ(data: DemoData) -> None:
    assert len({data.body(key) for key in data.objects}) == len(data.objects)


def test_every_case_lies_where_it_belongs(data: DemoData) -> None:
    assert {partition_of(key) for key in data.keys(Case.UNOWNED)} == {None}
    assert {partition_of(key) for key in data.keys(Case.YOUNG)} == {"uploads/2026/"}
    assert {partition_of(key) for key in data.keys(Case.ORPHAN)} == set(PARTITIONS)


def _attachments(rows: tuple[tuple[int, str | None], ...]) -> list[str | dict[str, str]]:
    documents = [json.loads(text) for _, text in rows if text]
    return [item for document in documents for item in document.get("attachments", ())]


def _key_of(item: str | dict[str, str]) -> str | None:
    if isinstance(item, str):
        return item
    if "url" in item:
        return unquote(item["url"].removeprefix(CDN).partition("?")[0])
    return item.get("key")


def test_the_pipeline_divides_the_keys_as_the_truth_does(data: DemoData) -> None:
    prefixes = [OwnedPrefix(path="uploads/", split=1), OwnedPrefix(path="avatars/")]
    expression, parameters = partition_expression(prefixes)
    keys = sorted(data.objects)
    with duckdb.connect() as connection:
        connection.register("given", pa.table({"key": keys}))
        found = connection.execute(f"SELECT key, {expression} FROM given", parameters).fetchall()
    assert dict(found) == {key: partition_of(key) for key in keys}
