"""Several connections of one snapshot at work at once, each in a thread of its own, and one reader that takes what they bring. What they
ask belongs in `windows` and `copying`."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from queue import Empty, Full, Queue
from threading import Event, Thread

import psycopg
from psycopg import sql

from orphan_pipeline.references.sessions import Connection
from orphan_pipeline.references.transport.extracted import Extracted

Put = Callable[[Extracted], bool]
"""Hands on what was read, and waits while the reader has enough. False: the reader has gone."""

# So that after a failure the same snapshot can be asked which row it was.
SAVEPOINT = sql.SQL("SAVEPOINT reading")
BACK_TO_SAVEPOINT = sql.SQL("ROLLBACK TO SAVEPOINT reading")
RELEASE_SAVEPOINT = sql.SQL("RELEASE SAVEPOINT reading")

Item = Extracted | BaseException | None


def in_parallel(read: Callable[[Connection, Put], None], connections: Sequence[Connection]) -> Iterator[Extracted]:
    """What `read` puts, called once for each connection. The first exception of any ends all; nothing is asked any more after that, and
    each connection is back at where it was before."""
    ready: Queue[Item] = Queue(maxsize=len(connections))
    enough = Event()

    def put(item: Item) -> bool:
        while not enough.is_set():
            with suppress(Full):
                ready.put(item, timeout=0.2)
                return True
        return False

    def run(connection: Connection) -> None:
        try:
            connection.execute(SAVEPOINT)
            read(connection, put)
        except BaseException as error:
            put(error)
        else:
            put(None)

    threads = [Thread(target=run, args=(connection,), name="orphan_pipeline references", daemon=True) for connection in connections]
    for thread in threads:
        thread.start()
    running = len(threads)
    try:
        while running:
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            if item is None:
                running -= 1
            else:
                yield item
    finally:
        enough.set()
        if running:
            _stop(threads, connections, ready)
        for thread in threads:
            thread.join()
    # Here, not where the reading ended: whoever stops early must find the savepoint where it was.
    for connection in connections:
        connection.execute(RELEASE_SAVEPOINT)


def _stop(threads: Sequence[Thread], connections: Sequence[Connection], ready: "Queue[Item]") -> None:
    """A statement that is still running is cancelled: its answer is not wanted any more."""
    for thread, connection in zip(threads, connections, strict=True):
        thread.join(timeout=0.05)
        while thread.is_alive():
            with suppress(psycopg.Error):
                connection.cancel_safe(timeout=5)
            with suppress(Empty):
                ready.get_nowait()
            thread.join(timeout=0.2)
        with suppress(psycopg.Error):
            connection.execute(BACK_TO_SAVEPOINT)
