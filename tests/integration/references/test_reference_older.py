"""The same engine on an older PostgreSQL, where one is installed: version 15 has no pg_input_is_valid."""

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from orphan_pipeline.demo import servers
from orphan_pipeline.demo.servers import running_postgres
from orphan_pipeline.errors import Refused
from orphan_pipeline.references import extract
from orphan_pipeline.references.cut import DatabaseUnderCut, open_cut
from orphan_pipeline.references.read import read_keys
from orphan_pipeline.settings.model import ReferenceSettings
from references.conftest import Database

PROGRAMS = Path("/usr/lib/postgresql/15/bin")
Source = Callable[..., ReferenceSettings]

pytestmark = pytest.mark.skipif(not (PROGRAMS / "postgres").exists(), reason="no PostgreSQL 15 is installed here")


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(servers, "_postgres_programs", lambda: PROGRAMS)
        with running_postgres(tmp_path_factory.mktemp("older")) as server:
            url = server.create_database("older")
            with psycopg.connect(url, autocommit=True) as admin:
                yield Database(url, admin)


def keys(older: Database, source: ReferenceSettings) -> list[str]:
    with open_cut({"app": DatabaseUnderCut(url=older.url, connections=3)}, [source]) as cuts:
        assert cuts["app"].server_version.startswith("15")
        return [str(key) for table in read_keys(source, cuts["app"]) for key in table["key"].to_pylist()]


def test_all_is_read(older: Database, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract, "BLOCKS_WORTH_A_CONNECTION", 2)
    older.run(
        "CREATE TABLE documents (id int PRIMARY KEY, data jsonb, body text)",
        "INSERT INTO documents SELECT n, jsonb_build_object('a', jsonb_build_array('k' || n, jsonb_build_object('b', 'o' || n))), '[]' "
        "FROM generate_series(1, 5000) AS n",
    )
    both = source("$.a[*]", "$.a[*].b")
    assert sorted(keys(older, both)) == sorted(f"{kind}{n}" for kind in "ko" for n in range(1, 5001))
    older.run("""UPDATE documents SET data = '{"a": [5]}' WHERE id = 77""")
    with pytest.raises(
        Refused, match=r"^source documents in database app: row id = 77: \$\.a\[\*\] is a number, 5; json_paths finds no key"
    ):
        keys(older, both)
    older.run("""UPDATE documents SET body = '["x", ' WHERE id = 4321""")
    with pytest.raises(Refused) as refused:
        keys(older, source("$[*]", column="body"))
    assert str(refused.value) == "source documents in database app: row id = 4321: body does not parse: invalid input syntax for type json"
