"""Which key rules would make more of a source's raw values keys that exist: rules are tried on a sample, one more at a time. Where the
sample comes from, and who knows what exists, belongs elsewhere."""

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from orphan_pipeline.references.normalise import BASE, key_sql, teach
from orphan_pipeline.settings.key_rules import Decode, DropQuery, KeyRules, KeyStep, LeadingSlash, Prepend, Strip, Unicode

ROUNDS = 5
MOST_BASES = 6
FEWEST = 0.02
"""A base that fewer of the values have is not tried."""

# The order in which a person would write them.
ORDER: tuple[type[KeyStep], ...] = (Strip, DropQuery, Decode, Unicode, LeadingSlash, Prepend)

FIRST_FOLDER = re.compile(r"/?[^/?#]+/")

Score = tuple[float, float]
"""The share that matches, and how much the values look like keys: while a prefix is still missing, a base that is stripped or a query
that is dropped matches nothing yet."""

Existing = Callable[[Collection[str]], set[str]]


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a raw value becomes: a key, or a problem, or (someone else's URL) neither."""

    raw: str
    key: str | None
    problem: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """`key`: the setting that would match more. `words` say what is new in it; `match_rate` is of the sample."""

    words: str
    key: dict[str, Any]
    match_rate: float

    def __str__(self) -> str:
        return f"{self.words} would match {self.match_rate:.1%}: key: {json.dumps(self.key, ensure_ascii=False)}"


def meanings(rules: KeyRules, raws: Sequence[str], *, json_may_be_key: bool = False) -> list[Meaning]:
    """What each raw value becomes by the rules, in order."""
    with duckdb.connect(config={"threads": 1}) as connection:
        teach(connection)
        return _meanings(connection, rules, raws, json_may_be_key=json_may_be_key)


def match_rate(found: Sequence[Meaning], existing: Existing) -> float:
    """The share of the values whose key exists; someone else's URLs do not count. 1 where there is nothing to count."""
    counted = [one for one in found if one.key is not None or one.problem is not None]
    there = existing([one.key for one in counted if one.key is not None and one.problem is None])
    return sum(one.key in there for one in counted) / len(counted) if counted else 1.0


def better_rules(
    rules: KeyRules, raws: Sequence[str], *, existing: Existing, folders: Sequence[str], tried_on: int | None = None
) -> Advice | None:
    """The rules that match at least one percent more of the sample, if there are any. `folders`: what may have to be put before a
    value; `tried_on`: how many of the values each attempt looks up (all, unless each is costly).
    """
    if not raws:
        return None
    with duckdb.connect(config={"threads": 1}) as connection:
        teach(connection)

        def scored(attempt: KeyRules) -> Score:
            found = _meanings(connection, attempt, raws[:tried_on])
            return match_rate(found, existing), sum(map(_plainness, found)) / len(found)

        best, best_score = rules, scored(rules)
        for _ in range(ROUNDS):
            steps = list(_steps(best, raws, folders))
            score, found = _best([*(_with(best, step) for step in steps), *_without_one(best)], scored)
            if score <= best_score:
                # One folder in place of another: either alone matches nothing.
                pairs = [(one, other) for one in steps for other in steps if isinstance(one, Strip) and isinstance(other, Prepend)]
                score, found = _best([best, *(_with(_with(best, one), other) for one, other in pairs)], scored)
            if score <= best_score:
                break
            best, best_score = found, score
        for fewer in _without_one(best):
            if scored(fewer)[0] >= best_score[0] and len(best.steps) > len(rules.steps):
                best = KeyRules(steps=tuple(step for step in best.steps if step in fewer.steps), ignore_foreign=best.ignore_foreign)
        before, after = (match_rate(_meanings(connection, tried, raws), existing) for tried in (rules, best))
    if after < before + 0.01:
        return None
    return Advice(words=_words(rules, best), key=_as_setting(best), match_rate=after)


def are_documents(raws: Sequence[str]) -> bool:
    """Whether most of the values are JSON objects or arrays: then the source lacks `json_paths`."""
    return sum(map(_is_document, raws)) * 2 > len(raws)


def _is_document(raw: str) -> bool:
    if not raw.lstrip().startswith(("{", "[")):
        return False
    try:
        return isinstance(json.loads(raw), dict | list)
    except ValueError:
        return False


def _meanings(
    connection: duckdb.DuckDBPyConnection, rules: KeyRules, raws: Sequence[str], *, json_may_be_key: bool = False
) -> list[Meaning]:
    made = key_sql(rules, json_may_be_key=json_may_be_key)
    connection.register("sampled", pa.table({"n": list(range(len(raws))), "raw": pa.array(raws, pa.string())}))
    found = connection.execute(f"SELECT {made.key}, {made.problem} FROM sampled ORDER BY n", made.parameters).fetchall()
    connection.unregister("sampled")
    return [Meaning(raw, key, problem) for raw, (key, problem) in zip(raws, found, strict=True)]


def _plainness(one: Meaning) -> int:
    """How much a value looks like a key: no problem, no query, no escape, no slash at its beginning."""
    key = one.key or ""
    return (one.problem is None) + ("?" not in key) + ("%" not in key) + (not key.startswith("/"))


def _best(attempts: Sequence[KeyRules], scored: Callable[[KeyRules], Score]) -> tuple[Score, KeyRules]:
    """The first of the best: what is tried first is simpler."""
    scores = [scored(attempt) for attempt in attempts]
    place = max(range(len(scores)), key=lambda n: (scores[n], -n))
    return scores[place], attempts[place]


def _steps(rules: KeyRules, raws: Sequence[str], folders: Sequence[str]) -> Iterator[KeyStep]:
    """What could be added to the rules, by what the values look like."""
    present = {type(step) for step in rules.steps}
    if any("?" in raw or "#" in raw for raw in raws):
        yield DropQuery()
    if any("%" in raw for raw in raws):
        yield Decode(how="percent")
    if any("+" in raw for raw in raws):
        yield Decode(how="form")
    if any(raw.startswith("/") for raw in raws) or Strip in present:
        yield LeadingSlash(what="drop")
    if not all(map(str.isascii, raws)):
        yield from (Unicode(form="nfc"), Unicode(form="nfd"))
    for base in _bases(raws, rules):
        yield Strip(bases=(base,))
    yield LeadingSlash(what="add")
    for folder in dict.fromkeys(folders):
        yield Prepend(prefix=folder)


def _bases(raws: Sequence[str], rules: KeyRules) -> list[str]:
    known = {base for step in rules.steps if isinstance(step, Strip) for base in step.bases}
    counted: Counter[str] = Counter()
    for raw in raws:
        host = BASE.match(raw)
        start = host.end() + 1 if host and raw[host.end() : host.end() + 1] == "/" else 0
        if host and start and "@" not in raw[:start]:
            counted[raw[:start]] += 1
        folder = FIRST_FOLDER.match(raw, start)
        if folder and (not host or (start and "@" not in raw[:start])):
            counted[raw[: folder.end()]] += 1
    return [base for base, times in counted.most_common(MOST_BASES) if base not in known and times >= len(raws) * FEWEST]


def _with(rules: KeyRules, step: KeyStep) -> KeyRules:
    """The rules with one more step, in place of one of its kind; bases are added to those that there are."""
    if isinstance(step, Strip):
        bases = [base for own in rules.steps if isinstance(own, Strip) for base in own.bases]
        step = Strip(bases=tuple(dict.fromkeys((*bases, *step.bases))))
    kinds = [type(own) for own in rules.steps]
    if type(step) in kinds:
        steps = [step if type(own) is type(step) else own for own in rules.steps]
    else:
        place = next((n for n, kind in enumerate(kinds) if ORDER.index(kind) > ORDER.index(type(step))), len(kinds))
        steps = [*rules.steps[:place], step, *rules.steps[place:]]
    return KeyRules(steps=tuple(steps), ignore_foreign=rules.ignore_foreign)


def _without_one(rules: KeyRules) -> Iterator[KeyRules]:
    for left_out in rules.steps:
        yield KeyRules(steps=tuple(step for step in rules.steps if step is not left_out), ignore_foreign=rules.ignore_foreign)


def _words(before: KeyRules, after: KeyRules) -> str:
    kinds = {type(step) for step in after.steps}
    said = [f"leaving out {step.rule}" for step in before.steps if type(step) not in kinds]
    for step in after.steps:
        if step in before.steps:
            continue
        match step:
            case Strip(bases=bases):
                known = {base for own in before.steps if isinstance(own, Strip) for base in own.bases}
                said.append("stripping " + ", ".join(f"`{base}`" for base in bases if base not in known))
            case DropQuery():
                said.append("dropping the query")
            case Decode(how=how):
                said.append(f"decoding ({how})")
            case Unicode(form=form):
                said.append(f"the Unicode form {form.upper()}")
            case LeadingSlash(what=what):
                said.append("dropping the leading slash" if what == "drop" else "adding a leading slash")
            case Prepend(prefix=prefix):
                said.append(f"prepending `{prefix}`")
    return " and ".join(said)


def _as_setting(rules: KeyRules) -> dict[str, Any]:
    setting: dict[str, Any] = {}
    for step in rules.steps:
        match step:
            case Strip(bases=bases):
                setting["strip"] = list(bases)
            case DropQuery():
                setting["drop_query"] = True
            case Decode(how=how):
                setting["decode"] = how
            case Unicode(form=form):
                setting["unicode"] = form
            case LeadingSlash(what=what):
                setting["leading_slash"] = what
            case Prepend(prefix=prefix):
                setting["prepend"] = prefix
    if rules.ignore_foreign is not False:
        ignored = rules.ignore_foreign
        setting["ignore_foreign"] = ignored if ignored is True else list(ignored)
    return setting
