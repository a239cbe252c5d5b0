"""Durations, secrets, JSON paths and cron schedules."""

import subprocess
import sys
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from orphan_pipeline.errors import BadSettings
from orphan_pipeline.settings.cron import wrong_with_cron
from orphan_pipeline.settings.json_paths import BadJsonPath, JsonPath
from orphan_pipeline.settings.values import Duration, EnvRef, duration_text, parse_duration

MEMBER = st.one_of(
    st.from_regex(r"\.[A-Za-z_][A-Za-z0-9_]*", fullmatch=True),
    st.from_regex(r'\."(?:[^"\\\x00-\x1f]|\\["\\])+"', fullmatch=True),
)
MEMBERS = st.lists(MEMBER, max_size=4).map("".join)


@given(st.integers(0, 3650 * 86400))
def test_durations_round_trip(seconds: int) -> None:
    value = timedelta(seconds=seconds)
    assert parse_duration(duration_text(value)) == value
    durations: TypeAdapter[timedelta] = TypeAdapter(Duration)
    assert durations.validate_python(durations.dump_python(value, mode="json")) == value


@given(st.integers(1, 999), st.sampled_from("dhms"))
def test_no_text_of_a_duration_is_shorter(number: int, unit: str) -> None:
    value = parse_duration(f"{number}{unit}")
    assert value is not None
    assert len(duration_text(value)) <= len(f"{number}{unit}")


@pytest.mark.parametrize("text", ["", "7", "7 d", "-7d", "+7d", "1.5h", "7D", "7w", "1h30m", "\u0667d", "7d\n"])
def test_nothing_else_is_a_duration(text: str) -> None:
    assert parse_duration(text) is None


@given(MEMBERS, st.none() | MEMBERS)
def test_json_paths_accept_what_they_print(before: str, after: str | None) -> None:
    path = JsonPath("$" + before + ("" if after is None else f"[*]{after}"))
    again = JsonPath(str(path))
    assert str(again) == str(path)
    assert (again.array, again.rest) == (path.array, path.rest)
    assert JsonPath(path.rest).array is None
    assert path.array is None or JsonPath(path.array).array == path.array


def test_json_paths_are_cut_at_the_array() -> None:
    path = JsonPath('$.a."b c"[*].d')
    assert (path.array, path.rest) == ('$.a."b c"[*]', "$.d")
    path = JsonPath("$.a[*]")
    assert (path.array, path.rest) == ("$.a[*]", "$")
    path = JsonPath("$.a.b")
    assert (path.array, path.rest) == (None, "$.a.b")
    assert JsonPath("$[*]").array == "$[*]"


def test_needless_quotes_do_not_make_another_array() -> None:
    assert JsonPath('$."a"[*]."x"').array == JsonPath("$.a[*].y").array
    assert JsonPath(r'$."a\".\"b"').rest == r'$."a\".\"b"'


@pytest.mark.parametrize(
    "text",
    ["", "a", "$.", "$a", "$..a", "$.*", "$.**", "$.a[0]", "$.a[*", "$.a ? (@ > 1)", "$.a-b", "$.a\n",
     "strict $.a", "$.a.size()", '$.""', '$."a', "$.1a", "$.a[*]x", r'$."\u0041"', "$.é"],
)  # fmt: skip
def test_every_other_json_path_is_refused(text: str) -> None:
    with pytest.raises(BadJsonPath):
        JsonPath(text)


def test_a_secret_is_read_from_the_environment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = EnvRef(env="A_SECRET")
    monkeypatch.setenv("A_SECRET", "hunter2")
    assert secret.read() == "hunter2"
    assert "hunter2" not in repr(secret)
    monkeypatch.setenv("A_SECRET", "")
    with pytest.raises(BadSettings, match="environment variable A_SECRET is not set"):
        secret.read()


def test_a_literal_secret_is_not_in_the_error_of_code_either() -> None:
    with pytest.raises(ValidationError) as wrong:
        EnvRef.model_validate("postgresql://u:hunter2@h/d")
    assert "hunter2" not in str(wrong.value)


@pytest.mark.parametrize("text", ["0 2 * * *", "*/15 0-6,22 1,15 jan-MAR mon-fri", "0 0 29 2 *", "0-59/7 * * * 7", "5 4 * * sun"])
def test_cron_schedules(text: str) -> None:
    assert wrong_with_cron(text) is None


@pytest.mark.parametrize(
    "text",
    ["", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "*/0 * * * *",
     "5/2 * * * *", "9-3 * * * *", "a * * * *", "1,, * * * *", "0 0 30 2 *", "0 0 31 2 0", "0 0 31 4,6 *", "@daily", "* * * * mon#2"],
)  # fmt: skip
def test_what_is_no_cron_schedule(text: str) -> None:
    assert wrong_with_cron(text)


def test_settings_import_no_dagster() -> None:
    program = (
        "import sys, orphan_pipeline.settings.load, orphan_pipeline.settings.reference; "
        "sys.exit(any(name.split('.')[0] in ('dagster', 'boto3', 'psycopg') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
