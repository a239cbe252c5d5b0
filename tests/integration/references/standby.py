"""A streaming replica of a test's PostgreSQL on a free loopback port, from the same programs."""

import os
import pwd
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import run

import psycopg

from orphan_pipeline.demo import servers
from orphan_pipeline.demo.processes import free_ports, running, wait_until
from orphan_pipeline.demo.servers import PostgresServer


@contextmanager
def running_standby(primary: PostgresServer, folder: Path, *options: str) -> Iterator[PostgresServer]:
    with ExitStack() as stack:
        programs, user = servers._postgres_programs(), None
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="orphan-pipeline-standby-")))
        home.chmod(0o755)
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            user = (nobody.pw_uid, nobody.pw_gid)
            os.chown(home, *user)
            if not servers._everyone_can_read(programs):
                programs = servers._copied(programs, home)
        data, environment = home / "data", {**servers._plain_environment(), "PGPASSWORD": primary.password}
        base = [
            "-h",
            primary.host,
            "-p",
            str(primary.port),
            "-U",
            "postgres",
            "-D",
            str(data),
            "-R",
            "-X",
            "stream",
            "-c",
            "fast",
            "--no-sync",
        ]
        run(
            [programs / "pg_basebackup", *base],
            check=True,
            capture_output=True,
            cwd=home,
            env=environment,
            user=user[0] if user else None,
            group=user[1] if user else None,
            extra_groups=[] if user else None,
        )
        standby = PostgresServer(host="127.0.0.1", port=free_ports(1)[0], password=primary.password)
        switches = [f"--port={standby.port}", f"--listen_addresses={standby.host}", "--unix_socket_directories=", "--fsync=off", *options]
        log = folder / "standby.log"
        process = stack.enter_context(
            running([programs / "postgres", "-D", data, *switches], log=log, cwd=data, env=servers._plain_environment(), user=user)
        )
        wait_until("the standby", process, log, lambda: _accepts(standby))
        yield standby


def _accepts(server: PostgresServer) -> bool:
    try:
        psycopg.connect(server.url(), connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True
