"""The variants' templates as slow, obvious Python."""

import re
from collections.abc import Sequence


def variants_slowly(templates: Sequence[str], key: str) -> list[str]:
    return [t.format(**parts_of(key)) for t in templates]


def parts_of(key: str) -> dict[str, str]:
    folder, slash, name = key.rpartition("/")
    dot = name.rfind(".")
    stem, suffix = (name[:dot], name[dot:]) if dot > 0 else (name, "")
    above, upper_slash, _ = folder.rpartition("/")
    return {"dir": folder + slash, "stem": stem, "suffix": suffix, "key": key, "up": above + upper_slash}


def glob_matches_slowly(template: str, key: str, parent: str) -> bool:
    parts = parts_of(parent)
    pieces = re.split(r"(\*\*?)", template)
    meaning = {"*": "[^/]*", "**": "(?s:.*)"}
    pattern = "".join(meaning.get(piece) or re.escape(piece.format(**parts)) for piece in pieces)
    return re.fullmatch(pattern, key) is not None
