"""The pictures: well-formed whatever a prefix is called, and true to the figures."""

import base64
from xml.etree.ElementTree import Element, fromstring

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orphan_pipeline.inventory.snapshot import Amount
from orphan_pipeline.orphans.cost import cost_of
from orphan_pipeline.orphans.manifest import AgeBand
from orphan_pipeline.pictures.ages import age_picture
from orphan_pipeline.pictures.svg import Picture, amount_text
from orphan_pipeline.pictures.treemap import MOST_RECTANGLES, Part, Rectangle, parts_of, squarified, treemap

SVG = "{http://www.w3.org/2000/svg}"
sizes = st.lists(st.integers(1, 10_000), min_size=1, max_size=60)


def drawn(picture: Picture) -> Element:
    return fromstring(picture.markup())


def texts(picture: Picture) -> list[str]:
    return [text.text or "" for text in drawn(picture).iter(f"{SVG}text")]


@given(sizes)
def test_rectangles_fill_the_whole_each_as_large_as_its_share(parts: list[int]) -> None:
    whole = Rectangle(10, 20, 700, 300)
    places = list(squarified(sorted(parts, reverse=True), whole))
    for size, place in zip(sorted(parts, reverse=True), places, strict=True):
        assert place.width * place.height == pytest.approx(size / sum(parts) * 700 * 300, rel=1e-6)
        assert place.x >= 10 - 1e-4
        assert place.y >= 20 - 1e-4
        assert place.x + place.width <= 710 + 1e-4
        assert place.y + place.height <= 320 + 1e-4


def test_equal_parts_become_nearly_squares() -> None:
    places = list(squarified([1.0] * 6, Rectangle(0, 0, 600, 400)))
    assert {(round(place.width), round(place.height)) for place in places} == {(200, 200)}


@given(st.lists(st.tuples(st.text(), st.integers(0, 10**18), st.integers(0, 10**9)), max_size=60))
def test_any_prefix_can_be_drawn(found: list[tuple[str, int, int]]) -> None:
    picture = treemap("Reclaimable", parts_of({name: (size, size + rest) for name, size, rest in found}))
    assert drawn(picture).tag == f"{SVG}svg"
    assert picture.markdown().startswith("![Reclaimable](data:image/svg+xml;base64,")


def test_markup_in_a_prefix_stays_text() -> None:
    picture = treemap("a](x) <b>", [Part("</text><script>alert(1)</script>", 100, 0.5)])
    assert [child.tag for child in drawn(picture).iter() if "script" in child.tag] == []
    assert picture.markdown().startswith("![ax b](data:image/svg+xml;base64,")
    data = picture.markdown().partition("base64,")[2].removesuffix(")")
    assert base64.b64decode(data).decode() == picture.markup()


def test_of_a_thousand_prefixes_the_small_ones_are_one_rectangle() -> None:
    picture = treemap("Reclaimable", [Part(f"p{n}/", 10**6 if n < 10 else 1000, 0.1) for n in range(1000)])
    hints = [hint.text or "" for hint in drawn(picture).findall(f"{SVG}rect/{SVG}title")]
    assert len(hints) == MOST_RECTANGLES
    assert hints[-1] == "961 more prefixes: 938.5 KB, 10% of it orphaned" or any(h.startswith("961 more prefixes") for h in hints)


def test_nothing_to_reclaim_is_said() -> None:
    assert texts(treemap("Reclaimable", [Part("a/", 0, 0.0)])) == ["Reclaimable", "nothing"]
    assert texts(age_picture("Orphans", {})) == ["Orphans", "no object under a declared prefix"]


def test_bars_stand_in_order_with_their_figures() -> None:
    ages = {
        "over 5 years": AgeBand(inventory=Amount(10, 100), orphans=Amount(5, 50)),
        "young": AgeBand(inventory=Amount(4, 4), orphans=Amount(1, 1)),
        "7 to 30 days": AgeBand(inventory=Amount(8, 3 * 2**20), orphans=Amount(8, 3 * 2**20)),
    }
    assert texts(age_picture("Orphans", ages)) == [
        "Orphans",
        "too young",
        "1 bytes, 1 objects (25.0%)",
        "7 to 30 days",
        "3.0 MB, 8 objects (100.0%)",
        "over 5 years",
        "50 bytes, 5 objects (50.0%)",
    ]


def test_amounts_are_told_as_people_read_them() -> None:
    told = [amount_text(size) for size in (0, 1023, 1024, 150 * 2**20, 2**30, 1.5 * 2**50, 5 * 2**60)]
    assert told == ["0 bytes", "1,023 bytes", "1.0 KB", "150 MB", "1.0 GB", "1.5 PB", "5,120 PB"]


def test_what_orphans_cost_is_their_bytes_at_the_price_of_their_class() -> None:
    amounts = {"STANDARD": Amount(1, 100 * 2**30), "DEEP_ARCHIVE": Amount(1, 1000 * 2**30), "COLDLINE": Amount(1, 2**50)}
    cost = cost_of(amounts, {"STANDARD": 0.023, "DEEP_ARCHIVE": 0.00099, "GLACIER": 9.0})
    assert cost.usd_a_month == pytest.approx(2.3 + 0.99)
    assert cost.unpriced == ("COLDLINE",)
