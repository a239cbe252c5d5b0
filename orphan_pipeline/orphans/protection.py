"""Which keys nobody may delete whatever else is true (rule 5): the settings' `protect` globs, and what this system itself keeps in
the bucket (DuckLake 839: a system's own catalog lay under the swept prefix)."""

from collections.abc import Sequence

from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from orphan_pipeline.errors import Refused


def protection_expression(globs: Sequence[str], own_prefixes: Sequence[str]) -> tuple[str, dict[str, str]]:
    """A SQL condition over the column `key`, true for protected keys, and its parameters."""
    expression, parameters = protecting_glob(globs, own_prefixes)
    return f"({expression} IS NOT NULL)", parameters


def protecting_glob(globs: Sequence[str], own_prefixes: Sequence[str]) -> tuple[str, dict[str, str]]:
    """A SQL expression over the column `key`, the first glob or prefix of this system that protects it or NULL, and its parameters.
    `own_prefixes`: what lies in the bucket for this system's sake; there is always one.

    `*` and `**` mean what gitignore says, and the translation is pathspec's. Two things differ from files in a folder: a key may
    hold line breaks (so `.` matches them), and it may begin with slashes (so it is also looked at without).
    """
    cases = [f"WHEN starts_with(key, $own_prefix_{number}) THEN $own_prefix_{number}" for number in range(len(own_prefixes))]
    parameters = {f"own_prefix_{number}": prefix for number, prefix in enumerate(own_prefixes)}
    for number, glob in enumerate(globs):
        name = f"protect_{number}"
        parameters[name] = _pattern(glob)
        parameters[f"{name}_glob"] = glob
        condition = f"regexp_matches(key, ${name}, 's') OR regexp_matches(ltrim(key, '/'), ${name}, 's')"
        cases.append(f"WHEN {condition} THEN ${name}_glob")
    return f"CASE {' '.join(cases)} END", parameters


def _pattern(glob: str) -> str:
    if "[:" in glob:
        # pathspec and DuckDB's regular expressions read `[[:alpha:]]` differently, neither as git does.
        raise Refused(f"protect: {glob!r} holds a character class by name, expected its characters, such as [a-z]")
    compiled = GitIgnoreSpecPattern(glob)
    if not compiled.include or compiled.regex is None:
        raise Refused(f"protect: {glob!r} protects nothing, expected a glob such as **/.keep")
    return str(compiled.regex.pattern)
