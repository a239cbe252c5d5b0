"""Every command and every option is documented, and what is documented exists."""

import re
from pathlib import Path

import click
import pytest

from orphan_pipeline.cli.main import COMMANDS, main

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXT = "\n".join(page.read_text() for page in PAGES)


def _command(name: str) -> click.Command:
    command = main.get_command(click.Context(main), name)
    assert isinstance(command, click.Command)
    return command


def _options(command: click.Command) -> set[str]:
    return {opt for param in command.params if isinstance(param, click.Option) for opt in param.opts if opt.startswith("--")}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_and_its_options_are_documented(name: str) -> None:
    assert f"orphan-pipeline {name}" in TEXT
    assert sorted(option for option in _options(_command(name)) if f"{option}" not in TEXT) == []


@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_and_its_options_explain_themselves(name: str) -> None:
    command = _command(name)
    assert command.help
    assert [option.name for option in command.params if isinstance(option, click.Option) and not option.help] == []


def test_what_is_documented_exists() -> None:
    named = set(re.findall(r"orphan-pipeline ([a-z]+)\b", TEXT))
    assert sorted(named - set(COMMANDS)) == []


def test_commands_that_print_figures_print_them_as_json() -> None:
    assert [name for name in COMMANDS if name != "init" and "--json" not in _options(_command(name))] == []


def test_commands_that_read_settings_take_their_path() -> None:
    assert [name for name in COMMANDS if name not in ("init", "demo") and "--settings" not in _options(_command(name))] == []
