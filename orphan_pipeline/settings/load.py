"""Where the settings file is, reading it, and its mistakes, each as one line. What settings there are: `model`."""

import difflib
import os
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from orphan_pipeline.errors import BadSettings
from orphan_pipeline.settings.databases import DatabaseSettings
from orphan_pipeline.settings.document import BrokenDocument, Document, Loc, Mistake, read_document
from orphan_pipeline.settings.model import Settings
from orphan_pipeline.settings.part import FROM_FILE
from orphan_pipeline.settings.shape import fields, spot_at
from orphan_pipeline.settings.values import EnvRef

VARIABLE = "ORPHAN_PIPELINE_SETTINGS"
FILE_NAME = "orphan_pipeline.yaml"

_LONGEST_SHOWN = 60
_CREDENTIALS_IN_URL = re.compile(r"[a-z][a-z0-9+.-]*:/*[^/\s]*@", re.IGNORECASE)


def template() -> str:
    """The settings file that `init` writes."""
    return (files("orphan_pipeline.settings") / "template.yaml").read_text(encoding="utf-8")


def find_settings(explicit: Path | None = None) -> Path | None:
    """The file given, else the environment's, else ./orphan_pipeline.yaml, else None. Raises BadSettings when one
    that was named does not exist."""
    if explicit is not None:
        if not explicit.exists():
            raise BadSettings(f"{explicit}: not found, expected a settings file")
        return explicit
    named = os.environ.get(VARIABLE)
    if named:
        if not Path(named).exists():
            raise BadSettings(f"{named}: not found, expected the settings file that {VARIABLE} names")
        return Path(named)
    return Path(FILE_NAME) if Path(FILE_NAME).exists() else None


def load_settings(path: Path) -> Settings:
    """The settings in the file. Raises BadSettings with one line for each mistake, in the order of the file."""
    try:
        document = read_document(_text(path))
    except BrokenDocument as broken:
        raise BadSettings(*(_line(path, mistake) for mistake in broken.mistakes)) from broken
    if document.value is None:
        raise BadSettings(f"{path}:1: found nothing, expected a mapping")
    if not isinstance(document.value, dict):
        raise BadSettings(f"{path}:1: {_found(document.value, ())}, expected a mapping")
    mistakes: list[Mistake] = []
    values = dict(document.value)
    if "file" in values:  # a field of the model that only this function sets
        del values["file"]
        mistakes.append(_unknown_name(document, ("file",)))
    try:
        settings = Settings.model_validate({**values, "file": path}, context=FROM_FILE)
    except ValidationError as wrong:
        mistakes += _mistakes(document, wrong)
    if mistakes:
        # no cause: pydantic's own text is of no use to the reader, and is not ours to keep free of secrets
        raise BadSettings(*dict.fromkeys(_line(path, mistake) for mistake in sorted(mistakes))) from None
    return settings


def missing_secrets(settings: Settings) -> tuple[str, ...]:
    """One line for each secret whose environment variable is unset or empty."""
    return tuple(
        f"{settings.file}: {_path(loc)}: environment variable {secret.env} is not set"
        for loc, secret in _secrets(settings, ())
        if not secret.is_set()
    )


def _secrets(value: Any, loc: Loc) -> Iterator[tuple[Loc, EnvRef]]:
    if isinstance(value, EnvRef):
        yield loc, value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _secrets(getattr(value, name), (*loc, name))
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _secrets(item, (*loc, name))
    elif isinstance(value, tuple):
        for place, item in enumerate(value):
            yield from _secrets(item, (*loc, place))


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        line = path.read_bytes().count(b"\n", 0, wrong.start) + 1
        raise BadSettings(f"{path}:{line}: not UTF-8, expected a text file in UTF-8") from None
    except FileNotFoundError:
        raise BadSettings(f"{path}: not found, expected a settings file") from None
    except IsADirectoryError:
        raise BadSettings(f"{path}: a folder, expected a settings file") from None
    except OSError as wrong:
        raise BadSettings(f"{path}: not readable ({wrong.strerror}), expected a settings file") from wrong


def _hidden(loc: Loc) -> bool:
    """Whether what stands here could be a secret, by right or by mistake."""
    if loc[:1] == ("databases",):
        return loc[2:3] in ((), ("url",), ("replica",)) or (len(loc) > 2 and loc[2] not in DatabaseSettings.model_fields)
    return loc[:1] == ("notifications",) or (loc[:1] == ("buckets",) and loc[2:3] == ("credentials",))


def _found(value: Any, loc: Loc) -> str:
    if value is None:
        return "found nothing"
    if isinstance(value, dict | list):
        kind = "mapping" if isinstance(value, dict) else "list"
        return f"found a {kind}" if value else f"found an empty {kind}"
    if isinstance(value, bool):
        return f"found {str(value).lower()}"
    if _hidden(loc) or _CREDENTIALS_IN_URL.search(str(value)):
        return "found a value (not shown, it could be a secret)"
    shown = repr(value)
    return f"found {shown}" if len(shown) <= _LONGEST_SHOWN else f"found {shown[: _LONGEST_SHOWN - 1]}…"


def _name(name: str, loc: Loc) -> str:
    secret = (_hidden(loc) and len(loc) > 3) or _CREDENTIALS_IN_URL.search(name) or len(name) > _LONGEST_SHOWN
    return "…" if secret or not name.isprintable() else name


def _path(loc: Loc) -> str:
    known = [part if spot_at(Settings, loc[: i + 1]) else None for i, part in enumerate(loc)]
    text = ""
    for i, part in enumerate(loc):
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            shown = part if known[i] and not _free_name(loc[: i + 1]) else _name(part, loc[: i + 1])
            text += f".{shown}" if text else shown
    return text


def _free_name(loc: Loc) -> bool:
    return len(loc) == 2 and loc[0] in ("databases", "buckets")


def _line(path: Path, mistake: Mistake) -> str:
    return ": ".join(part for part in (f"{path}:{mistake.line}", _path(mistake.loc), mistake.text) if part)


def _unknown_name(document: Document, loc: Loc) -> Mistake:
    above = spot_at(Settings, loc[:-1])
    known = [
        name
        for model in (above.models() if above else ())
        for name in fields(model)
        if not (spot := spot_at(model, (name,))) or not spot.later
    ]
    near = difflib.get_close_matches(str(loc[-1]), known, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    return Mistake(*document.names[loc], loc, f"unknown name, expected one of {', '.join(known)}{hint}")


def _mistakes(document: Document, wrong: ValidationError) -> Iterator[Mistake]:
    errors = wrong.errors(include_url=False)
    for error in errors:
        loc, kind, context = error["loc"], error["type"], error.get("ctx", {})
        if kind == "extra_forbidden":
            yield _unknown_name(document, loc)
            continue
        if kind == "too_short" and any(other["loc"][: len(loc)] == loc for other in errors if other is not error):
            continue  # pydantic counts only the entries that are right
        there = next(loc[:end] for end in range(len(loc), -1, -1) if document.has(loc[:end]))
        if kind == "missing":
            yield Mistake(*document.positions[there], loc, f"missing, expected {_expected(loc)}")
        elif kind == "mistake" and not context["show_found"]:
            yield Mistake(*document.positions[there], loc, context["text"])
        else:
            text = context["text"] if kind == "mistake" else f"expected {_expected(there)}"
            yield Mistake(*document.positions[there], there, f"{_found(document.at(there), there)}, {text}")


def _expected(loc: Loc) -> str:
    spot = spot_at(Settings, loc)
    return spot.expected if spot else "a mapping"
