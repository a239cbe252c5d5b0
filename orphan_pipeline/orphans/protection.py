"""Which keys nobody may delete whatever else is true (rule 5): the settings' `protect` globs, and what this system itself keeps in
the bucket (DuckLake 839: a system's own catalog lay under the swept prefix)."""

from collections.abc import Sequence

from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from orphan_pipeline.errors import Refused
from orphan_pipeline.inventory.prefixes import OWN_PREFIX


def protection_expression(globs: Sequence[str]) -> tuple[str, dict[str, str]]:
    """A SQL condition over the column `key`, true for protected keys, and its parameters.

    `*` and `**` mean what gitignore says, and the translation is pathspec's. Two things differ from files in a folder: a key may
    hold line breaks (so `.` matches them), and it may begin with slashes (so it is also looked at without).
    """
    conditions = ["starts_with(key, $own_prefix)"]
    parameters = {"own_prefix": OWN_PREFIX}
    for number, glob in enumerate(globs):
        name = f"protect_{number}"
        parameters[name] = _pattern(glob)
        conditions.append(f"regexp_matches(key, ${name}, 's')")
        conditions.append(f"regexp_matches(ltrim(key, '/'), ${name}, 's')")
    return f"({' OR '.join(conditions)})", parameters


def _pattern(glob: str) -> str:
    if "[:" in glob:
        # pathspec and DuckDB's regular expressions read `[[:alpha:]]` differently, neither as git does.
        raise Refused(f"protect: {glob!r} holds a character class by name, expected its characters, such as [a-z]")
    compiled = GitIgnoreSpecPattern(glob)
    if not compiled.include or compiled.regex is None:
        raise Refused(f"protect: {glob!r} protects nothing, expected a glob such as **/.keep")
    return str(compiled.regex.pattern)
