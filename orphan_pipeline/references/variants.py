"""Keys that live as long as another: the templates of `variants`, as DuckDB expressions over that other key. What a template with a `*`
matches belongs in `derived`.

    {key}     the key                                    {dir}   all up to and including its last `/`
    {suffix}  from the last `.` of the name behind it,   {up}    {dir} without its last folder: `a/` for `a/b/c.jpg`
              unless the name begins with that dot       {stem}  the name without the suffix
"""

import re
from collections.abc import Sequence

PLACEHOLDER = re.compile(r"\{(up|dir|stem|suffix|key)\}")


def is_glob(template: str) -> bool:
    return "*" in template


def variants_sql(templates: Sequence[str], column: str = "key") -> tuple[str, dict[str, str]]:
    """A list expression of the keys that live as long as `column`'s, one for each template without a `*`, and its parameters."""
    parameters: dict[str, str] = {}
    made = [filled_sql(template, parameters, column) for template in templates if not is_glob(template)]
    return f"[{', '.join(made)}]::VARCHAR[]", parameters


def filled_sql(template: str, parameters: dict[str, str], column: str = "key", escape: str = "{}") -> str:
    """One template as an expression; what is literal in it goes into `parameters`. `escape` is put around what comes of the key."""
    folder = f"regexp_extract({column}, '^(?s:.*/)?')"
    suffix = rf"regexp_extract({column}, '[^/](\.[^./]*)$', 1)"
    stem = f"substr({column}, length({folder}) + 1, length({column}) - length({folder}) - length({suffix}))"
    above = rf"regexp_extract({column}, '^((?s:.*/)?)[^/]*/[^/]*$', 1)"
    meaning = {"key": column, "dir": folder, "suffix": suffix, "stem": stem, "up": above}
    parts = []
    for n, part in enumerate(PLACEHOLDER.split(template)):
        if n % 2:
            parts.append(escape.format(meaning[part]))
        elif part:
            name = f"variant_{len(parameters)}"
            parameters[name] = part
            parts.append(f"${name}")
    return " || ".join(parts) or "''"
