"""Values that a setting can hold and YAML has no type for: secrets, durations, what does not exist yet.

The marks by which a mistake becomes one clear line stand here too. Which setting takes which value belongs in
`model`, reading the file in `load`.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, PlainSerializer, PlainValidator, ValidationError, model_validator
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema

from orphan_pipeline.errors import BadSettings

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_DURATION = re.compile(r"([0-9]{1,9})([dhms])")
_UNITS = {"d": timedelta(days=1), "h": timedelta(hours=1), "m": timedelta(minutes=1), "s": timedelta(seconds=1)}
_LONGEST = timedelta(days=3650)  # beyond it, a date minus a duration leaves the calendar


@dataclass(frozen=True, slots=True)
class Expected:
    """What a setting takes, in words. Read by `load` for mistakes and by `reference` for the documentation."""

    text: str


def mistake(text: str, *, show_found: bool = True) -> PydanticCustomError:
    """A mistake in one value. Unless `show_found` is off, `load` puts "found …, " before the text."""
    return PydanticCustomError("mistake", "{text}", {"text": text, "show_found": show_found})


def mistakes_below(*found: tuple[tuple[int | str, ...], str]) -> ValidationError:
    """Mistakes in values below the one that is being validated: (path from here, full text) each."""
    return ValidationError.from_exception_data(
        "settings",
        [InitErrorDetails(type=mistake(text, show_found=False), loc=loc, input=None) for loc, text in found],
        hide_input=True,
    )


class EnvRef(BaseModel):
    """The name of the environment variable that holds a secret: the only way to give one."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    env: str

    @model_validator(mode="before")
    @classmethod
    def _only_a_name(cls, data: Any) -> Any:
        if isinstance(data, EnvRef):
            return data
        if not isinstance(data, Mapping):
            found = "nothing" if data is None else "a literal"
            raise mistake(f"found {found}, expected {{env: NAME}}", show_found=False)
        if list(data) != ["env"]:
            raise mistake("found other names than env, expected {env: NAME}", show_found=False)
        if not isinstance(data["env"], str) or not _VARIABLE.fullmatch(data["env"]):
            raise mistake("found no variable's name after env, expected {env: NAME}", show_found=False)
        return data

    def is_set(self) -> bool:
        """Whether the variable has a value. An empty one counts as unset."""
        return bool(os.environ.get(self.env))

    def read(self) -> str:
        """The secret. Raises BadSettings when the variable is unset or empty."""
        if not self.is_set():
            raise BadSettings(f"environment variable {self.env} is not set; the settings name it for a secret")
        return os.environ[self.env]


def parse_duration(text: str) -> timedelta | None:
    """`7d`, `24h`, `15m` or `30s` as a timedelta; None for everything else."""
    match = _DURATION.fullmatch(text)
    return int(match[1]) * _UNITS[match[2]] if match else None


def duration_text(value: timedelta) -> str:
    """The shortest text that `parse_duration` reads as this value. Only whole seconds have one."""
    if not value:
        return "0s"
    unit = next(unit for unit, size in _UNITS.items() if not value % size)
    return f"{value // _UNITS[unit]}{unit}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DurationRange:
    """Makes a timedelta setting: written as `7d`, between the two bounds, both allowed."""

    at_least: timedelta = timedelta(0)
    at_most: timedelta = _LONGEST

    @property
    def expected(self) -> str:
        if self.at_least and self.at_most < _LONGEST:
            return f"a duration from {duration_text(self.at_least)} to {duration_text(self.at_most)}"
        if self.at_least:
            return f"a duration of at least {duration_text(self.at_least)}"
        return "a duration such as 7d, 24h, 15m or 30s"

    def _validate(self, value: object) -> timedelta:
        found = parse_duration(value) if isinstance(value, str) else value
        if not isinstance(found, timedelta) or found % _UNITS["s"]:
            raise mistake("expected a duration such as 7d, 24h, 15m or 30s")
        if found > self.at_most and self.at_most == _LONGEST:
            raise mistake(f"expected a duration of at most {duration_text(_LONGEST)}")
        if not self.at_least <= found <= self.at_most:
            raise mistake(f"expected {self.expected}")
        return found

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(duration_text, when_used="json"),
        )


Duration = Annotated[timedelta, DurationRange()]

_SIZE = re.compile(r"([0-9]{1,6})(MiB|GiB|TiB)")
_SIZE_UNITS = {"MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
SMALLEST_MEMORY = 256 * 2**20


def _memory(value: object) -> int:
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    size = int(match[1]) * _SIZE_UNITS[match[2]] if match else value
    if not isinstance(size, int) or isinstance(size, bool):
        raise mistake("expected an amount of memory such as 512MiB or 4GiB")
    if size < SMALLEST_MEMORY:
        raise mistake("expected at least 256MiB")
    return size


Memory = Annotated[
    int,
    PlainValidator(_memory),
    PlainSerializer(lambda size: f"{size // 2**20}MiB", when_used="json"),
    Expected("an amount of memory such as 512MiB or 4GiB"),
]
"""Bytes, written with a unit."""


@dataclass(frozen=True, slots=True)
class Later:
    """Marks a setting whose behaviour does not exist yet: whatever value it is given is refused."""

    what: str

    def refuse(self, value: object) -> None:
        raise mistake(f"but {self.what} does not exist yet: leave it out")

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.refuse)


@dataclass(frozen=True, slots=True, kw_only=True)
class OneOf:
    """Makes a setting that takes one of a few words, and names those that do not exist yet."""

    words: tuple[str, ...]
    later: Mapping[str, str]  # word -> what it stands for

    @property
    def expected(self) -> str:
        return " or ".join(self.words)

    def _validate(self, value: object) -> str:
        if isinstance(value, str) and value in self.later:
            raise mistake(f"but {self.later[value]} does not exist yet, expected {self.expected}")
        if not isinstance(value, str) or value not in self.words:
            raise mistake(f"expected {self.expected}")
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._validate)
