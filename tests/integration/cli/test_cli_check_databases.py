"""`check` reaches the databases as a sweep does: by the replica where one is named."""

from collections.abc import Iterator

import pytest
from references.standby import running_standby
from small_world import MakeWorld, World

from cli.conftest import Say
from orphan_pipeline.demo.servers import PostgresServer, running_postgres


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PostgresServer, PostgresServer]]:
    """A primary of its own, and its standby."""
    folder = tmp_path_factory.mktemp("check-replica")
    with running_postgres(folder / "primary") as primary:
        primary.create_database("replicated")
        with running_standby(primary, folder) as standby:
            yield primary, standby


@pytest.fixture(scope="module")
def shared(make_world: MakeWorld, servers: tuple[PostgresServer, PostgresServer], tmp_path_factory: pytest.TempPathFactory) -> World:
    world = make_world(tmp_path_factory.mktemp("check-databases"), servers[0].url("replicated"), baseline=False)
    world.settings["databases"]["app"] = {"url": {"env": "WORLD_DATABASE_URL"}, "replica": {"env": "WORLD_REPLICA_URL"}}
    world.change()
    return world


def test_the_sources_are_read_from_the_replica(shared: World, servers: tuple[PostgresServer, PostgresServer], say: Say) -> None:
    said = say(shared, "check", "--json", WORLD_REPLICA_URL=servers[1].url("replicated"))
    assert said.status == 0, said.err
    assert [source["rows"] for source in said.json["buckets"]["media"]["sources"]] == [10]


@pytest.mark.parametrize("wrong", ["nowhere", "the primary"])
def test_a_replica_that_is_none_is_found(shared: World, servers: tuple[PostgresServer, PostgresServer], say: Say, wrong: str) -> None:
    url = "postgresql://someone:hunter2@127.0.0.1:1/app" if wrong == "nowhere" else servers[0].url("replicated")
    said = say(shared, "check", WORLD_REPLICA_URL=url)
    assert (said.status, len(said.err.splitlines())) == (1, 1)
    assert "database app" in said.err
    assert "hunter2" not in said.err
    assert servers[0].password not in said.err
