"""An array of keys that an application encoded twice is one text. Taken for one key, every key in it would be lost: wherever it stands, and
whoever reads it, the sweep or the question before a deletion, it is refused and named (rule 4b)."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from orphan_pipeline.errors import Refused
from orphan_pipeline.references.cut import DatabaseUnderCut
from orphan_pipeline.references.recheck.asking import Asker, By
from orphan_pipeline.settings.model import ReferenceSettings
from references.conftest import Database, Take

Source = Callable[..., ReferenceSettings]
A = "$.attachments[*]"
URL = "$.attachments[*].url"
TWO = json.dumps(["u/a", "u/b"])
SAID = "is JSON in the form of a text, and whatever it names would be lost"


def store(app: Database, *values: object, kind: str = "jsonb") -> None:
    app.run(f"CREATE TABLE documents (id bigint PRIMARY KEY, data {kind})")
    with app.admin.cursor() as cursor:
        given = [value if kind != "jsonb" else json.dumps(value) for value in values]
        cursor.executemany("INSERT INTO documents VALUES (%s, %s)", list(enumerate(given, start=1)))


@pytest.mark.parametrize(
    ("paths", "document"),
    [
        ([A], {"attachments": TWO}),
        ([A, URL], {"attachments": TWO}),
        ([A], {"attachments": ["u/c", TWO]}),
        ([A], {"attachments": ["u/c", json.dumps({"url": "u/a"})]}),
        ([A, "$.avatar"], {"attachments": [], "avatar": json.dumps("u/a")}),
        ([URL], {"attachments": [{"url": TWO}]}),
        (["$.pages[*].images[*]"], {"pages": [{"images": TWO}]}),
        (["$[*]"], TWO),
        (["$"], TWO),
    ],
)
@pytest.mark.parametrize("key", [{}, {"prepend": "u/"}], ids=["as it is", "prepended"])
def test_it_is_no_key_wherever_it_stands_in_a_document(
    app: Database, take: Take, source: Source, paths: list[str], document: object, key: dict[str, str]
) -> None:
    store(app, document)
    with pytest.raises(Refused) as refused:
        take(source(*paths, key=key))
    assert str(refused.value).startswith("source documents in database app: row id = 1: '")
    assert SAID in str(refused.value)


def test_a_few_among_many_are_found(app: Database, take: Take, source: Source) -> None:
    """Regression: 30 of 1,000 documents, and the match rate was 98.5 %."""
    store(
        app, *({"attachments": json.dumps(two) if n < 30 else two} for n, two in enumerate([f"u/{n}-a", f"u/{n}-b"] for n in range(1000)))
    )
    with pytest.raises(Refused, match=SAID):
        take(source(A))
    app.run("DELETE FROM documents WHERE jsonb_typeof(data -> 'attachments') = 'string'")
    assert len(take(source(A)).keys) == 1940


@pytest.mark.parametrize("value", [TWO, ' {"url": "u/a"}', '"u/a"', "{u/a,u/b}", "['u/a', 'u/b']", '["u/a", "u/'])
@pytest.mark.parametrize("kind", ["text", "text[]"])
def test_it_is_no_key_in_a_column_of_texts(app: Database, take: Take, source: Source, value: str, kind: str) -> None:
    store(app, ["u/c"] if kind == "text[]" else "u/c", [value] if kind == "text[]" else value, kind=kind)
    with pytest.raises(Refused, match=f"row id = 2: .* {SAID}"):
        take(source())


def test_what_only_begins_so_is_a_key(app: Database, take: Take, source: Source) -> None:
    names = ["[draft] a.pdf", "{8f5c}.jpg", '"a" and "b".txt', "a.jpg, b.jpg"]
    store(app, {"attachments": names}, {"attachments": "[1].jpg"})
    assert sorted(take(source(A)).keys) == sorted([*names, "[1].jpg"])


def test_a_pattern_says_what_a_key_is(app: Database, take: Take, source: Source) -> None:
    """The way out for who names objects so."""
    store(app, "{8f5c-01}", kind="text")
    assert take(source(pattern="^.+$")).keys == ["{8f5c-01}"]


def test_a_file_is_looked_at_too(app: Database, take: Take, tmp_path: Path) -> None:
    (tmp_path / "export.csv").write_text('path\nu/c\n"[""u/a"",""u/b""]"\n')
    export = ReferenceSettings.model_validate({"name": "export", "file": str(tmp_path / "export.csv"), "column": "path"})
    with pytest.raises(Refused, match=rf"^source export: export.csv row 2: '\[\"u/a\",\"u/b\"\]' {SAID}"):
        take(export)


def asked(app: Database, source: ReferenceSettings, spill: Path, *keys: str, by: By = "auto") -> dict[str, str]:
    with Asker(databases={"app": DatabaseUnderCut(url=app.url)}, sources=[source], spill_under=spill, by=by) as asker:
        return dict(asker.ask(pa.chunked_array([pa.array(keys, pa.string())])).in_use)


def test_who_asks_again_by_a_pass_is_refused(app: Database, source: Source, tmp_path: Path) -> None:
    store(app, {"attachments": TWO})
    with pytest.raises(Refused, match=SAID):
        asked(app, source(A), tmp_path, "u/a", by="pass")


def test_an_index_finds_the_row_by_what_stands_in_it_and_it_is_no_key_there_either(app: Database, source: Source, tmp_path: Path) -> None:
    """By a key that such a row names nothing finds it (docs/recheck.md): the sweep before and the sweep after stop at it."""
    store(app, *({"attachments": [f"u/{n}"]} for n in range(20_000)), {"attachments": TWO})
    app.run("CREATE INDEX ON documents USING gin ((data -> 'attachments') jsonb_path_ops)", "ANALYZE documents")
    own: Any = source(A)
    assert asked(app, own, tmp_path, "u/7", "u/a") == {"u/7": "documents"}
    with pytest.raises(Refused, match=SAID):
        asked(app, own, tmp_path, TWO)
