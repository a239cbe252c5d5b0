"""The real servers that tests share, one of each a session (or a pytest-xdist worker), started by the first test that
asks for it."""

import fcntl
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from secrets import token_hex
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings
from moto.server import ThreadedMotoServer

from orphan_pipeline.demo.servers import ObjectStore, PostgresServer, running_postgres, running_seaweedfs

MakeBucket = Callable[..., str]
Server = TypeVar("Server")

# How long an example takes says how busy the machine is: Hypothesis fails at 200 ms, and where ten take a second to be made.
settings.register_profile("any machine", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def _terminable() -> None:
    """A Dagster run in this process leaves SIGTERM as SIGINT is, and a shell starts what it sends to the background with SIGINT ignored:
    what later tests start would be deaf to both."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def started_alone(server: AbstractContextManager[Server], folders: pytest.TempPathFactory) -> Iterator[Server]:
    """One worker starts a server at a time: before it listens, another would take its ports for free."""
    with (folders.getbasetemp().parent / "starting.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with server as started:
            fcntl.flock(lock, fcntl.LOCK_UN)
            yield started


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    with started_alone(running_seaweedfs(tmp_path_factory.mktemp("seaweedfs")), tmp_path_factory) as store:
        yield store


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with started_alone(running_postgres(tmp_path_factory.mktemp("postgres")), tmp_path_factory) as server:
        yield server


@pytest.fixture(scope="session")
def moto() -> Iterator[ObjectStore]:
    """Keeps keys exactly and lists them in order, but ignores ETags in DeleteObjects."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield ObjectStore(endpoint=f"http://{host}:{port}", access_key_id="moto", secret_access_key="moto")
    finally:
        server.stop()


@pytest.fixture
def make_bucket() -> MakeBucket:
    """`make_bucket(store, versioned=False)` creates an empty bucket with a name of its own and returns the name."""

    def make(store: ObjectStore, *, versioned: bool = False) -> str:
        name = f"bucket-{token_hex(6)}"
        client = store.client()
        client.create_bucket(Bucket=name)
        if versioned:
            client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        return name

    return make


@pytest.fixture
def database_url(postgres: PostgresServer) -> Iterator[str]:
    """A fresh, empty database; dropped afterwards with whoever is still connected."""
    name = f"test_{token_hex(6)}"
    yield postgres.create_database(name)
    postgres.drop_database(name)
