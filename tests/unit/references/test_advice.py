"""The rule that would match more: found by trying, on a sample, against what exists."""

from collections.abc import Collection, Sequence
from typing import Any

import pytest

from orphan_pipeline.references.advice import are_documents, better_rules, match_rate, meanings
from orphan_pipeline.settings.model import KeyRules

KEYS = [f"uploads/2026/{n:03} é+x.jpg" for n in range(100)]
PLAIN = [f"uploads/2026/{n:03}.jpg" for n in range(100)]
FOLDERS = ("avatars/", "uploads/", "uploads/2026/")


def escaped(key: str) -> str:
    return key.replace(" ", "%20").replace("é", "%C3%A9")


def advice_for(raws: Sequence[str], bucket: Collection[str], rules: dict[str, Any] | None = None, tried_on: int | None = 24) -> Any:
    return better_rules(
        KeyRules.model_validate(rules or {}),
        raws,
        existing=lambda keys: set(keys) & set(bucket),
        folders=FOLDERS,
        tried_on=tried_on,
    )


@pytest.mark.parametrize(
    ("raws", "bucket", "rules", "key"),
    [
        ([f"https://cdn.example.com/{key}" for key in PLAIN], PLAIN, {}, {"strip": ["https://cdn.example.com/"]}),
        ([f"https://s3.example.com/acme/{key}" for key in PLAIN], PLAIN, {}, {"strip": ["https://s3.example.com/acme/"]}),
        ([f"//cdn/{key}?v=1" for key in PLAIN], PLAIN, {}, {"strip": ["//cdn/"], "drop_query": True}),
        ([escaped(key) for key in KEYS], KEYS, {}, {"decode": "percent"}),
        ([escaped(key).replace("+", "%2B").replace("%20", "+") for key in KEYS], KEYS, {}, {"decode": "form"}),
        ([key.removeprefix("uploads/") for key in PLAIN], PLAIN, {}, {"prepend": "uploads/"}),
        ([f"/{key}" for key in PLAIN], PLAIN, {}, {"leading_slash": "drop"}),
        ([key.replace("é", "e\u0301") for key in KEYS], KEYS, {}, {"unicode": "nfc"}),
        ([f"/media/{key.removeprefix('uploads/')}" for key in PLAIN], PLAIN, {}, {"strip": ["/media/"], "prepend": "uploads/"}),
        ([escaped(key).removeprefix("uploads/") for key in KEYS], KEYS, {}, {"decode": "percent", "prepend": "uploads/"}),
        (
            [f"https://cdn/{escaped(key).removeprefix('uploads/')}?v=2" for key in KEYS],
            KEYS,
            {},
            {"strip": ["https://cdn/"], "drop_query": True, "decode": "percent", "prepend": "uploads/"},
        ),
        (
            [f"{'https://cdn/' if n % 2 else 's3://acme/'}{key}" for n, key in enumerate(PLAIN)],
            PLAIN,
            {},
            {"strip": ["https://cdn/", "s3://acme/"]},
        ),
        ([f"https://b/{key}" for key in PLAIN], PLAIN, {"strip": ["https://a/"]}, {"strip": ["https://a/", "https://b/"]}),
        ([f"a%2Fb{n}" for n in range(20)], [f"a%2Fb{n}" for n in range(20)], {"decode": "percent"}, {}),
    ],
)  # fmt: skip
def test_the_rules_that_match_all(raws: Sequence[str], bucket: Sequence[str], rules: dict[str, Any], key: dict[str, Any]) -> None:
    for tried_on in (24, None):
        advice = advice_for(raws, bucket, rules, tried_on)
        assert advice is not None
        assert {name: sorted(value) if name == "strip" else value for name, value in advice.key.items()} == key
        assert advice.match_rate == 1.0
        # What is advised does what it says, written into the settings as it is.
        found = meanings(KeyRules.model_validate(advice.key), raws)
        assert match_rate(found, lambda keys: set(keys) & set(bucket)) == 1.0


def test_the_words() -> None:
    raws = [f"https://cdn.example.com/{key.removeprefix('uploads/')}" for key in PLAIN]
    assert str(advice_for([*raws, *(f"gone/{n}" for n in range(2))], PLAIN)) == (
        "stripping `https://cdn.example.com/` and prepending `uploads/` would match 98.0%: "
        'key: {"strip": ["https://cdn.example.com/"], "prepend": "uploads/"}'
    )
    assert str(advice_for(["a%2Fb"], ["a%2Fb"], {"decode": "percent"})) == "leaving out decode would match 100.0%: key: {}"


def test_nothing_is_advised_where_nothing_helps() -> None:
    assert advice_for([], PLAIN) is None
    assert advice_for(PLAIN, PLAIN) is None
    assert advice_for([f"gone/{n}" for n in range(50)], PLAIN) is None


def test_a_base_with_a_user_in_it_is_not_advised() -> None:
    assert advice_for([f"https://user:secret@cdn/{key}" for key in PLAIN], PLAIN) is None


def test_what_is_excused_does_not_count() -> None:
    rules = KeyRules.model_validate({"ignore_foreign": True})
    found = meanings(rules, ["https://elsewhere/a", "uploads/2026/001.jpg"])
    assert [(one.key, one.problem) for one in found] == [(None, None), ("uploads/2026/001.jpg", None)]
    assert match_rate(found, lambda keys: set(keys)) == 1.0
    assert match_rate([], lambda keys: set(keys)) == 1.0


def test_documents_are_told_from_keys() -> None:
    assert are_documents(['{"a": "b"}', '["c"]', "d"])
    assert not are_documents(["{a}", "[b]", "c.jpg", '"d"'])
