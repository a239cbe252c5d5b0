"""What the demo's bucket and database hold, and the truth about each object, all from one seed. Writing it into real
servers is fill.py's; comparing a bucket with it afterwards is judge.py's."""

import json
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import md5
from random import Random
from urllib.parse import quote

BUCKET = "demo-media"
CDN = "https://cdn.example.com/"


class Case(StrEnum):
    """Why an object is there. All but the first three are referenced by nothing."""

    LIVE = "live"
    HISTORY = "history"
    BOTH = "both"
    ORPHAN = "orphan"
    YOUNG = "young"
    PROTECTED = "protected"
    UNOWNED = "unowned"


REFERENCED = frozenset({Case.LIVE, Case.HISTORY, Case.BOTH})

# Each comes with a number, so that no two keys resemble each other under any reading of them. SeaweedFS rewrites
# doubled and leading slashes and backslashes: those are tested elsewhere.
_ODD_NAMES = (
    "with space {}.jpg",
    "c++ {}+notes.pdf",
    "100% {}.png",
    "literal %2B {}.png",
    "twice %252F {}.png",
    unicodedata.normalize("NFC", "café {}.jpg"),
    unicodedata.normalize("NFD", "café {}.jpg"),
    "日本語-{}.png",
    "🦭 {}.gif",
    "it's {}.txt",
    'so "called" {}.txt',
    "salt & pepper {}.txt",
    "a<b>{}.xml",
    "(copy) [{}].doc",
    "what? #{}.txt",
    "trailing space {} ",
    "a=b;c,{}.csv",
    "~$lock {}.docx",
)

_REST = "uploads/(rest)"  # what lies directly in uploads/

# Share of all objects, and how many of them are orphans. `avatars/` is markedly cleaner than the others.
_PARTITIONS: Mapping[str, tuple[float, float]] = {
    "avatars/": (0.20, 0.08),
    "uploads/2025/": (0.32, 0.42),
    "uploads/2026/": (0.32, 0.36),
    _REST: (0.11, 0.25),
}
PARTITIONS = tuple(_PARTITIONS)


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoData:
    """The truth. `documents` and `history` are the rows of the two tables: id and JSON text (None is an SQL NULL)."""

    objects: Mapping[str, Case]
    dangling: frozenset[str]
    documents: tuple[tuple[int, str | None], ...] = field(repr=False)
    history: tuple[tuple[int, str | None], ...] = field(repr=False)

    def keys(self, *cases: Case, partition: str | None = None) -> frozenset[str]:
        """Keys of these cases; with `partition`, of it alone (one of PARTITIONS)."""
        return frozenset(
            key for key, case in self.objects.items() if case in cases and (partition is None or partition_of(key) == partition)
        )

    def body(self, key: str) -> bytes:
        """Differs for each key, so that a restored object can be told from any other."""
        return f"orphan_pipeline demo: {key}\n".encode()

    def etag(self, key: str) -> str:
        """Hexadecimal, without quotes."""
        return md5(self.body(key), usedforsecurity=False).hexdigest()


def partition_of(key: str) -> str | None:
    """None is an unowned key. Written out, not taken from the code under proof."""
    if key.startswith("avatars/"):
        return "avatars/"
    if not key.startswith("uploads/"):
        return None
    folders = key.split("/")
    return f"uploads/{folders[1]}/" if len(folders) > 2 else _REST


def demo_data(objects: int = 20_000, *, seed: int = 7) -> DemoData:
    """The same for the same arguments. `objects` at least 200, so that every case occurs."""
    if objects < 200:
        raise ValueError(f"found {objects} objects, expected at least 200")
    random = Random(seed)
    truth: dict[str, Case] = {}
    for partition, (share, orphans) in _PARTITIONS.items():
        count = round(objects * share)
        for number in range(count):
            case = Case.ORPHAN if number < count * orphans else random.choice((Case.LIVE, Case.HISTORY, Case.BOTH))
            truth[_key(partition, case, number, random)] = case
    few = max(objects // 100, 4)
    truth |= {_key("uploads/2026/", Case.YOUNG, number, random): Case.YOUNG for number in range(few)}
    truth |= dict.fromkeys(_protected(few), Case.PROTECTED)
    left = objects - len(truth)
    truth |= {_key("exports/", Case.UNOWNED, number, random): Case.UNOWNED for number in range(left)}
    dangling = frozenset(_key("uploads/2025/", "gone", number, random) for number in range(few * 2))
    live = [key for key, case in truth.items() if case in (Case.LIVE, Case.BOTH)]
    past = [key for key, case in truth.items() if case in (Case.HISTORY, Case.BOTH)]
    for number, key in enumerate(sorted(dangling)):
        (live if number % 2 else past).append(key)
    random.shuffle(live)
    random.shuffle(past)
    return DemoData(
        objects=truth,
        dangling=dangling,
        documents=tuple(_rows(_live_attachments(live, random), random)),
        history=tuple(_rows([{"url": f"{CDN}{quote(key, safe='/')}?v=3"} for key in past], random)),
    )


def _key(partition: str, case: str, number: int, random: Random) -> str:
    label = f"{case}-{number}"
    name = _ODD_NAMES[number // 4 % len(_ODD_NAMES)].format(label) if number % 4 == 0 else f"{label}.jpg"
    month = f"{random.randrange(1, 13):02}/" if partition.startswith("uploads/2") else ""
    return f"{partition.removesuffix('(rest)')}{month}{name}"


def _protected(count: int) -> list[str]:
    keep = [f"uploads/{year}/{month:02}/.keep" for year in (2025, 2026) for month in range(1, 13)]
    keep = ["uploads/.keep", "avatars/.keep", *keep][: count // 2]
    return [*keep, *(f"avatars/default/{number}.png" for number in range(count - len(keep)))]


def _live_attachments(keys: list[str], random: Random) -> list[object]:
    attachments: list[object] = []
    for number, key in enumerate(keys):
        attachments.append(key if random.random() < 0.5 else {"name": f"Attachment {number}", "key": key})
        if number % 50 == 0:
            attachments.append({"external": f"https://elsewhere.example.org/{number}.pdf"})
    return attachments


def _rows(attachments: list[object], random: Random) -> Iterator[tuple[int, str | None]]:
    """One to six attachments a row, after three rows that hold none in three ways."""
    yield 1, None
    yield 2, "{}"
    yield 3, '{"attachments": []}'
    identifier, at = 4, 0
    while at < len(attachments):
        taken = attachments[at : at + random.randrange(1, 7)]
        yield identifier, json.dumps({"attachments": taken}, ensure_ascii=False)
        identifier, at = identifier + 1, at + len(taken)
