"""An empty database for each test, a role that may do little in it, and the reference stage run over it."""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from threading import Barrier, Event
from time import monotonic

import psycopg
import pyarrow.parquet as pq
import pytest
from psycopg import sql

from orphan_pipeline.demo.servers import PostgresServer
from orphan_pipeline.references import extract
from orphan_pipeline.references.cut import DatabaseUnderCut, Limits
from orphan_pipeline.references.documents.closing import Way
from orphan_pipeline.references.snapshot import PART, ReferenceFigures, snapshot_references
from orphan_pipeline.references.transport import windows
from orphan_pipeline.settings.model import ReferenceSettings

OURS = "SELECT pid FROM pg_stat_activity WHERE application_name = 'orphan_pipeline' AND datname = current_database() ORDER BY backend_start"
SECONDS = 60
STARTED = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Database:
    """A database and a superuser's connection to it, each statement its own transaction."""

    url: str
    admin: psycopg.Connection

    def run(self, *statements: str) -> None:
        for statement in statements:
            self.admin.execute(sql.SQL(statement))

    def ours(self) -> list[int]:
        """Backends of our own sessions, the oldest first. One that has hung up is there until the server hears of it."""
        return [int(pid) for (pid,) in self.admin.execute(OURS).fetchall()]


def until(holds: Callable[[], bool]) -> None:
    end = monotonic() + SECONDS
    while not holds():
        assert monotonic() < end
        Event().wait(0.01)


@dataclass(frozen=True, slots=True)
class Snapshot:
    figures: ReferenceFigures
    rows: list[tuple[str, str, bool, str]]

    @property
    def keys(self) -> list[str]:
        return [key for key, _, _, _ in self.rows]


Take = Callable[..., Snapshot]


@pytest.fixture(scope="session")
def shared(postgres: PostgresServer) -> Iterator[Database]:
    url = postgres.create_database("references")
    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as admin:
        yield Database(url, admin)


@pytest.fixture
def app(shared: Database) -> Database:
    """An empty database. One for all tests, emptied before each: making one takes longer than most of them."""
    shared.run("DROP SCHEMA public CASCADE", "DROP SCHEMA IF EXISTS other CASCADE", "CREATE SCHEMA public")
    return shared


@dataclass(slots=True)
class Asked:
    """Which connection, by its backend's process, asked for which window. `together`: each waits before its first question until as many
    connections have one."""

    by: dict[int, list[windows.Window]] = field(default_factory=dict)
    together: Barrier | None = None

    def note(self, backend: int, window: windows.Window) -> None:
        if backend not in self.by:
            self.by[backend] = []
            if self.together is not None:
                self.together.wait()
        self.by[backend].append(window)


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Small tables are read as large ones are: in many windows, by several connections; and who asked for what is noted."""
    monkeypatch.setattr(windows, "FIRST_BLOCKS", 1)
    monkeypatch.setattr(windows, "MOST_BLOCKS", 2)
    monkeypatch.setattr(windows, "GROUPS", 2)
    monkeypatch.setattr(extract, "BLOCKS_WORTH_A_CONNECTION", 2)
    asked = Asked()
    real = windows._Reader._answers

    def noted(self: windows._Reader, window: windows.Window, way: Way) -> Generator[windows.Answer]:
        asked.note(self._connection.info.backend_pid, window)
        yield from real(self, window, way)

    monkeypatch.setattr(windows._Reader, "_answers", noted)
    return asked


@pytest.fixture
def reader(app: Database, postgres: PostgresServer) -> Iterator[str]:
    """The URL of a role that may do nothing yet but connect."""
    name = f"reader_{token_hex(4)}"
    app.admin.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'sesame'").format(sql.Identifier(name)))
    yield app.url.replace(f"postgres:{postgres.password}@", f"{name}:sesame@")
    app.admin.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
    app.admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


@pytest.fixture
def take(app: Database, tmp_path: Path) -> Take:
    """`take(*sources, **urls)`: the snapshot of the sources; the database `app` unless URLs by name are given."""

    def run(*sources: ReferenceSettings, limits: Limits | None = None, **urls: str) -> Snapshot:
        folder = tmp_path / token_hex(4)
        try:
            figures = snapshot_references(
                sources=sources,
                databases={name: DatabaseUnderCut(url=url, connections=3) for name, url in (urls or {"app": app.url}).items()},
                inventory_started_at=STARTED,
                folder=folder,
                report=lambda line: None,
                limits=limits,
            )
        except BaseException:
            assert not list(folder.rglob("*")), "a snapshot that failed leaves nothing"
            raise
        columns = pq.read_table(folder / PART).to_pydict()
        return Snapshot(figures, list(zip(*columns.values(), strict=True)))

    return run


@pytest.fixture
def allow(app: Database, reader: str) -> Callable[[str], None]:
    """`allow("GRANT … TO {}")` says something about the role of `reader`."""
    name = str(psycopg.conninfo.conninfo_to_dict(reader)["user"])

    def run(statement: str) -> None:
        app.admin.execute(sql.SQL(statement).format(sql.Identifier(name)))

    return run


def documents(*paths: str, ignore: tuple[str, ...] = (), **more: object) -> ReferenceSettings:
    """A source over `documents.data` of the database `app`."""
    given = {"name": "documents", "database": "app", "table": "documents", "column": "data", **more}
    return ReferenceSettings.model_validate({**given, "json_paths": paths, "ignore": ignore})


def query(statement: str, **more: object) -> ReferenceSettings:
    """A source named `avatars` over a statement on the database `app`."""
    return ReferenceSettings.model_validate({"name": "avatars", "database": "app", "sql": statement, **more})


@pytest.fixture
def source() -> Callable[..., ReferenceSettings]:
    return documents


@pytest.fixture
def statement() -> Callable[..., ReferenceSettings]:
    return query
