"""What the user got wrong is one line on standard error and exit status 1 or 2, never a traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from orphan_pipeline.cli import init as init_module
from orphan_pipeline.cli.check import deletion_line
from orphan_pipeline.cli.main import COMMANDS, main
from orphan_pipeline.settings.load import load_settings

USABLE = """
lake: ./lake
databases:
  app: {url: {env: MISTAKES_TEST_URL}}
buckets:
  media:
    bucket: acme-media
    prefixes: [uploads/]
    references:
      - {name: live, database: app, table: documents, column: data, json_paths: ["$.a[*]"]}
  other:
    bucket: acme-other
    prefixes: [uploads/]
    references:
      - {name: live, database: app, table: documents, column: data, json_paths: ["$.b[*]"]}
"""
READING = ("check", "sweep", "plan", "delete", "restore")
ENOUGH = {"delete": ("--all",), "restore": ("--prefix", "uploads/")}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("ORPHAN_PIPELINE", "MISTAKES_TEST", "DAGSTER")):
            monkeypatch.delenv(name)
    return tmp_path


def _run(*arguments: str) -> Result:
    return CliRunner(catch_exceptions=False).invoke(main, list(arguments))


def _failed(*arguments: str) -> tuple[int, str]:
    result = _run(*arguments)
    assert result.stdout == ""
    return result.exit_code, result.stderr


@pytest.mark.parametrize("command", READING)
def test_no_settings_file(command: str) -> None:
    expected = "no settings file: expected --settings, $ORPHAN_PIPELINE_SETTINGS or ./orphan_pipeline.yaml (see `orphan-pipeline init`)\n"
    assert _failed(command, *ENOUGH.get(command, ())) == (2, expected)


@pytest.mark.parametrize("command", READING)
def test_a_settings_file_that_does_not_exist(command: str) -> None:
    found = _failed(command, "--settings", "nowhere.yaml", *ENOUGH.get(command, ()))
    assert found == (2, "nowhere.yaml: not found, expected a settings file\n")


@pytest.mark.parametrize("command", READING)
def test_each_mistake_in_the_settings_is_a_line(command: str, elsewhere: Path) -> None:
    (elsewhere / "orphan_pipeline.yaml").write_text(USABLE.replace("[uploads/]", "[uploads]"))
    status, said = _failed(command, *ENOUGH.get(command, ()))
    assert status == 2
    assert [line.split(": ")[1] for line in said.splitlines()] == ["buckets.media.prefixes[0]", "buckets.other.prefixes[0]"]


@pytest.mark.parametrize("command", READING)
def test_a_mistake_in_the_settings_is_told_without_waiting_for_dagster(command: str, elsewhere: Path) -> None:
    (elsewhere / "orphan_pipeline.yaml").write_text(USABLE.replace("[uploads/]", "[uploads]"))
    code = "\n".join(
        (
            "import sys",
            "from orphan_pipeline.cli.main import main",
            f"try: main({[command, *ENOUGH.get(command, ())]!r})",
            "finally: print([name for name in ('dagster',) if name in sys.modules])",
        )
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "[]\n")


@pytest.mark.parametrize("command", [name for name in READING if name != "plan"])
def test_a_missing_secret_is_named_by_its_variable(command: str, elsewhere: Path) -> None:
    (elsewhere / "orphan_pipeline.yaml").write_text(USABLE)
    status, said = _failed(command, *ENOUGH.get(command, ()))
    assert (status, said) == (2, "orphan_pipeline.yaml: databases.app.url: environment variable MISTAKES_TEST_URL is not set\n")


@pytest.mark.parametrize("command", READING)
def test_a_bucket_that_is_not_in_the_settings(command: str, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (elsewhere / "orphan_pipeline.yaml").write_text(USABLE)
    monkeypatch.setenv("MISTAKES_TEST_URL", "postgresql://127.0.0.1:1/x")
    assert _failed(command, "--bucket", "acme-media", *ENOUGH.get(command, ())) == (
        2,
        "--bucket: found 'acme-media', expected one of media, other\n",
    )


@pytest.mark.parametrize("command", ["delete", "restore"])
def test_with_several_buckets_what_changes_one_must_name_it(command: str, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (elsewhere / "orphan_pipeline.yaml").write_text(USABLE)
    monkeypatch.setenv("MISTAKES_TEST_URL", "postgresql://127.0.0.1:1/x")
    assert _failed(command, *ENOUGH[command]) == (2, "--bucket: missing, expected one of media, other\n")


@pytest.mark.parametrize("arguments", [("nonsense",), ("plan", "--nonsense"), ("demo", "--objects", "3"), ("init", "a", "b")])
def test_bad_usage(arguments: tuple[str, ...]) -> None:
    status, said = _failed(*arguments)
    assert status == 2
    assert said.splitlines()[-1].startswith("Error: ")


DIGITS = ", expected 8 or more of the digits (0-9, a-f) of a digest"
ONE_OF = "restore: expected exactly one of --plan, --prefix and --key, or --since or --until alone; found "


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("restore",), f"{ONE_OF}none of them"),
        (("restore", "--prefix", "uploads/", "--key", "uploads/a"), f"{ONE_OF}--prefix and --key"),
        (
            ("restore", "--since", "yesterday"),
            "restore: --since: found 'yesterday', expected 2026-11-20, 2026-11-20T14:30 or a duration ago such as 36h",
        ),
        (("restore", "--prefix", "uploads/", "--since", "1d", "--until", "2d"), "is not before --until"),
        (("restore", "--plan", "zz"), f"Invalid value for '--plan': found 'zz'{DIGITS}"),
        (("restore", "--prefix", "", "--since", "36h"), "--prefix: found nothing, expected a value"),
        (("approve", "zz"), f"Invalid value for 'DIGEST': found 'zz'{DIGITS}"),
        (("approve", "0123456"), f"Invalid value for 'DIGEST': found '0123456'{DIGITS}"),
        (("delete", "--plan", ""), f"Invalid value for '--plan': found ''{DIGITS}"),
        (("delete", "--all", "--approve", "0"), f"Invalid value for '--approve': found '0'{DIGITS}"),
        (("delete",), "expected exactly one of --plan, --prefix and --all"),
    ],
)
def test_what_was_typed_wrong_is_usage(elsewhere: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str) -> None:
    (elsewhere / "orphan_pipeline.yaml").write_text(USABLE)
    monkeypatch.setenv("MISTAKES_TEST_URL", "postgresql://127.0.0.1:1/x")
    status, told = _failed(*arguments, "--bucket", "media")
    assert status == 2
    [line] = [line for line in told.splitlines() if line.startswith("Error: ")]
    assert said in line


@pytest.mark.parametrize("command", ["approve", "delete", "restore", "why"])
def test_a_command_about_one_bucket_does_not_promise_all(command: str) -> None:
    told = " ".join(_run(command, "--help").stdout.split())
    assert "must be named where there are several" in told
    assert "all of them" not in told


def test_a_lake_on_s3_and_missing_buckets_are_both_told(elsewhere: Path) -> None:
    (elsewhere / "orphan_pipeline.yaml").write_text("lake: s3://x/y\n")
    status, said = _failed("plan")
    assert status == 2
    assert said.splitlines() == [
        "orphan_pipeline.yaml:1: buckets: missing, expected a mapping of at least one bucket",
        "orphan_pipeline.yaml:1: lake: found 's3://x/y', but a lake on S3 does not exist yet, expected a folder such as ./lake",
    ]


def test_help_and_version_know_every_command() -> None:
    told = _run("--help")
    assert told.exit_code == 0
    assert [name for name in COMMANDS if f"  {name} " not in told.stdout] == []
    assert _run("--version").exit_code == 0


def test_init_writes_a_file_that_loads(elsewhere: Path) -> None:
    result = _run("init")
    assert (result.exit_code, result.stdout) == (0, "Wrote orphan_pipeline.yaml. Fill it in, then: orphan-pipeline check\n")
    assert load_settings(elsewhere / "orphan_pipeline.yaml").buckets


def test_init_never_overwrites(elsewhere: Path) -> None:
    (elsewhere / "orphan_pipeline.yaml").write_text("mine")
    assert _failed("init") == (1, "refused: orphan_pipeline.yaml exists already: it is left as it is\n")
    assert (elsewhere / "orphan_pipeline.yaml").read_text() == "mine"


def test_what_the_operating_system_refuses_is_one_line(elsewhere: Path) -> None:
    (elsewhere / "file").write_text("")
    status, said = _failed("init", "file/settings.yaml")
    assert (status, len(said.splitlines())) == (1, 1)
    assert said.startswith("failed: ")


def test_ctrl_c_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(init_module, "template", interrupted)
    assert _failed("init") == (1, "stopped\n")


@pytest.mark.parametrize(
    ("mode", "schedule", "sensor", "line"),
    [
        ("dry_run", False, False, "Deletion is OFF: media.deletion.mode is dry_run; schedule is stopped; sensor is stopped."),
        ("dry_run", True, True, "Deletion is OFF: media.deletion.mode is dry_run; schedule is running; sensor is running."),
        (
            "versioned",
            True,
            True,
            "Deletion is ON: media.deletion.mode is versioned; schedule is running; sensor is running "
            "(so after every sweep that passes its gates).",
        ),
        (
            "versioned",
            True,
            False,
            "Deletion is ON: media.deletion.mode is versioned; schedule is running; sensor is stopped (so only when someone starts it).",
        ),
    ],
)
def test_check_ends_with_whether_anything_can_be_deleted(elsewhere: Path, mode: str, schedule: bool, sensor: bool, line: str) -> None:
    (elsewhere / "orphan_pipeline.yaml").write_text(
        USABLE.replace("    bucket: acme-media", f"    bucket: acme-media\n    deletion: {{mode: {mode}}}")
    )
    bucket = load_settings(elsewhere / "orphan_pipeline.yaml").buckets["media"]
    assert deletion_line("media", bucket, schedule=schedule, sensor=sensor) == line


def test_check_names_everything_else_that_keeps_from_deleting(elsewhere: Path) -> None:
    (elsewhere / "orphan_pipeline.yaml").write_text(
        USABLE.replace("    bucket: acme-media", "    bucket: acme-media\n    deletion: {mode: versioned}")
    )
    bucket = load_settings(elsewhere / "orphan_pipeline.yaml").buckets["media"]
    assert deletion_line("media", bucket, schedule=True, sensor=True, in_the_way=["one thing", "another"]) == (
        "Deletion is OFF: media.deletion.mode is versioned; one thing; another; schedule is running; sensor is running."
    )
