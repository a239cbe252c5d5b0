"""An application that uses a bucket while it is swept, what the databases answered meanwhile, and the judge of what is left: for races and
for kills alike."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any, Literal, get_args

import psycopg
from deletion_helpers import NothingHeld, Standing

from orphan_pipeline.deletion.ledger import GONE, Answer, Planned
from orphan_pipeline.deletion.recheck.guard import Recheck
from orphan_pipeline.deletion.sending import NOT_SENT
from orphan_pipeline.deletion.settle import BY_LOOKING
from orphan_pipeline.elapsed import elapsed
from orphan_pipeline.references.recheck.asking import Asked, Asker
from orphan_pipeline.references.recheck.ways import Keys

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

HELD = "-held"
"""What the names of objects end in that a hook holds."""

LONGEST_USE = 40
"""So many deeds of one thread later at most, what is let go again is let go."""

LAG = 2
"""Chunks by which it may be late where a run waits for it."""

FILLER = 20_000
"""Rows of others, so that PostgreSQL finds an index worth its while."""

Deed = Literal[
    "nothing",
    "overwritten",
    "referenced",
    "uploaded again and referenced",
    "referenced and let go",
    "overwritten and referenced",
    "deleted",
]
DEEDS: tuple[Deed, ...] = get_args(Deed)
WITHOUT_WRITES: tuple[Deed, ...] = ("nothing", "referenced", "referenced and let go", "deleted")
"""On a bucket without versions this store may lose what is written in the moment of a delete (docs/deletion.md)."""


def make_table(url: str, *, index: bool) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE documents (id bigserial PRIMARY KEY, data jsonb)")
        if index:
            connection.execute(
                "INSERT INTO documents (data) SELECT jsonb_build_object('attachments', jsonb_build_array(jsonb_build_object('url', "
                "'https://cdn.example.com/b/' || n))) FROM generate_series(1, %s) AS n", [FILLER],
            )  # fmt: skip
            connection.execute("CREATE INDEX ON documents USING gin ((data -> 'attachments') jsonb_path_ops)")
        connection.execute("ANALYZE documents")


def document_of(key: str) -> str:
    return json.dumps({"attachments": [{"url": f"https://cdn.example.com/{key}"}]})


def let_go(connection: psycopg.Connection, keys: Sequence[str]) -> None:
    for key in keys:
        connection.execute("DELETE FROM documents WHERE data @> %s::jsonb", [document_of(key)])


@dataclass
class Application:
    """`etags`: of what it wrote over the planned objects; `markers`: of its own deletes; `in_use_since`: of what it did not let go."""

    client: "S3Client"
    bucket: str
    url: str
    bodies: Mapping[str, bytes]
    random: Random = field(default_factory=lambda: Random(1))
    etags: dict[str, str] = field(default_factory=dict)
    markers: dict[str, str] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    in_use_since: dict[str, float] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    failures: list[BaseException] = field(default_factory=list)

    def do(self, deed: Deed, key: str, connection: psycopg.Connection) -> None:
        if deed.startswith("overwritten"):
            self.etags[key] = self.client.put_object(Bucket=self.bucket, Key=key, Body=b"newer " + key.encode())["ETag"].strip('"')
        if deed.startswith("uploaded again"):
            self.client.put_object(Bucket=self.bucket, Key=key, Body=self.bodies[key])
        if deed == "deleted":
            self.deleted.add(key)
            self.markers[key] = self.client.delete_object(Bucket=self.bucket, Key=key).get("VersionId", "")
        if "referenced" in deed:
            connection.execute("INSERT INTO documents (data) VALUES (%s)", [document_of(key)])
            if deed != "referenced and let go":
                self.in_use_since[key] = elapsed()
        self.done.add(key)

    def work(self, deeds: Sequence[tuple[str, Deed]], may_go_on: Callable[[str], None]) -> None:
        """In a thread of its own; `may_go_on` returns when the deed about this key is due."""
        try:
            to_let_go: dict[int, list[str]] = {}
            with psycopg.connect(self.url, autocommit=True) as connection:
                for number, (key, deed) in enumerate(deeds):
                    may_go_on(key)
                    self.do(deed, key, connection)
                    if deed == "referenced and let go":
                        to_let_go.setdefault(number + self.random.randrange(LONGEST_USE), []).append(key)
                    let_go(connection, to_let_go.pop(number, []))
                for keys in to_let_go.values():
                    let_go(connection, keys)
        except BaseException as error:
            self.failures.append(error)
            raise

    def wants(self, key: str) -> bool:
        return key in self.etags or key in self.in_use_since

    def body(self, key: str) -> bytes:
        """What must be found under a key that it wants."""
        return b"newer " + key.encode() if key in self.etags else self.bodies[key]


@dataclass(frozen=True, slots=True, kw_only=True)
class LetGo:
    """One chunk's key right before the chunk may go: when, and whether the latest answer was that it is in use. None: another came while
    the re-check was deciding."""

    at: float
    in_use: bool | None


@dataclass(slots=True)
class Answers:
    """What the databases answered, by key: of each question when it began and what it said; and what was known when its chunk began, once
    for each run that began it."""

    asked: dict[str, list[tuple[float, bool]]] = field(default_factory=dict)
    before: dict[str, list[LetGo]] = field(default_factory=dict)

    def last_began(self, key: str) -> float:
        return max((began for began, _ in self.asked.get(key, [])), default=0.0)

    def used_after_it_went(self, key: str) -> bool:
        """Some question that was begun after its chunk was let go said that it is in use."""
        let_go = [one.at for one in self.before.get(key, []) if not one.in_use]
        return bool(let_go) and any(in_use and began > max(let_go) for began, in_use in self.asked[key])


def answers_of(lines: Iterable[str]) -> Answers:
    """From what `spy` wrote."""
    found = Answers()
    for line in lines:
        told = json.loads(line)
        used = frozenset(told["in_use"])
        for key in told["keys"]:
            if "began" in told:
                found.asked.setdefault(key, []).append((told["began"], key in used))
            else:
                let_go = LetGo(at=told.get("at") or told["request"], in_use=None if key in told["unsure"] else key in used)
                if "request" in told:  # the same run, the same chunk, later
                    found.before[key].pop()
                found.before.setdefault(key, []).append(let_go)
    return found


def let_go_by_requests(lines: Iterable[str]) -> set[str]:
    """Of what `spy` wrote in one run: the keys that may have been sent to the store."""
    found: set[str] = set()
    for told in map(json.loads, lines):
        if "request" in told:
            found |= {*told["keys"]} - {*told["in_use"], *told["unsure"]}
    return found


def spy(patch: Callable[[object, str, object], None], write: Callable[[str], object]) -> None:
    """From now on every answer is written down before it is used, and the latest answer about each key of a chunk before the chunk may go,
    and before each of its requests, whatever the re-check makes of it."""
    ask, before, lock = Asker.ask, Recheck.before, Lock()
    latest: dict[str, bool] = {}

    def asked_and_told(asker: Asker, keys: Keys) -> Asked:
        asked, names = ask(asker, keys), list(map(str, keys.to_pylist()))
        with lock:
            latest.update((key, key in asked.in_use) for key in names)
            write(json.dumps({"began": asked.began, "keys": names, "in_use": list(asked.in_use)}))
        return asked

    def asked_when(moment: str, recheck: Recheck, chunk: int, planned: Sequence[Planned]) -> Mapping[str, Answer]:
        names = [one.key for one in planned]
        with lock:
            known = {key: latest[key] for key in names if key in latest}
        held = before(recheck, chunk, planned)
        with lock:
            unsure = [key for key in names if known.get(key, latest[key]) != latest[key]]
            write(json.dumps({moment: elapsed(), "keys": names, "in_use": [key for key in names if latest[key]], "unsure": unsure}))
        return held

    patch(Asker, "ask", asked_and_told)
    patch(Recheck, "before", lambda *given: asked_when("at", *given))
    patch(Recheck, "before_request", lambda *given: asked_when("request", *given))


@dataclass
class Live:
    """An application at work in threads while a plan is carried out: what it does about a key comes when the chunk of the key, or one near
    it, is begun."""

    application: Application
    chunk_of: Mapping[str, int]
    deeds: Mapping[str, Deed]
    begun: Callable[[], int]
    """How many chunks."""
    over: Event = field(default_factory=Event)
    due: dict[str, float] = field(default_factory=dict)
    """How many chunks are begun before it is done, of each key that is not left to chance."""
    _threads: list[Thread] = field(default_factory=list)

    def start(self, random: Random, *, threads: int = 3, spread: float = 1.5) -> None:
        last = max(self.chunk_of.values())
        due = {key: min(last, max(0.0, chunk + random.gauss(0, spread))) for key, chunk in self.chunk_of.items()} | self.due
        self.due = {key: due[key] for key, deed in self.deeds.items() if deed != "nothing"}
        order = sorted((key for key, deed in self.deeds.items() if deed != "nothing"), key=due.__getitem__)

        def may_go_on(key: str) -> None:
            while not self.over.is_set() and self.begun() < due[key]:
                self.over.wait(0.004)

        for number in range(threads):
            mine = [(key, self.deeds[key]) for key in order[number::threads]]
            self._threads.append(Thread(target=self.application.work, args=(mine, may_go_on)))
            self._threads[-1].start()

    def catch_up(self) -> None:
        """Returns when it has done all that was due some chunks ago."""
        long_due = {key for key, due in self.due.items() if due <= self.begun() - LAG}
        while not (long_due <= self.application.done or self.application.failures):
            self.over.wait(0.004)

    def end(self) -> None:
        """Returns when it has done all that it was to do."""
        self.over.set()
        for thread in self._threads:
            thread.join()
        assert not self.application.failures


@dataclass(frozen=True)
class InStep(NothingHeld):
    """A guard that has the run wait for an application that a slow machine leaves behind: else the two would hardly meet."""

    live: Live

    def before(self, chunk: int, planned: Sequence[Planned]) -> Mapping[str, Answer]:
        self.live.catch_up()
        return {}

    def finish(self) -> None:
        self.live.catch_up()


def judge(
    application: Application,
    planned: Sequence[Planned],
    deeds: Mapping[str, Deed],
    lines: Mapping[str, Mapping[str, Any]],
    found: Mapping[str, Standing],
    answers: Answers,
    *,
    versioned: bool = True,
    left: Collection[str] = (),
) -> list[str]:
    """The bucket is what it must be by what was answered and by what the application did. Gives the keys whose content was compared. A
    key without a line is one that a run which was refused did not come to, or did not send: then a restore says so. `left`: keys of chunks
    that no run finished, so that none asked after them."""
    must_stand = []
    for one in planned:
        key, own, deed, line = one.key, found.get(one.key, Standing()), deeds[one.key], lines.get(one.key)
        ours = [marker for marker in own.markers if marker != application.markers.get(key)]
        what = (key, deed, line, own, answers.before.get(key), answers.asked.get(key))
        assert len(ours) <= 1, what
        if key in application.etags and own.current is None and line is not None and line["outcome"] == "unknown":
            # Only where the run was killed: nobody knows whose the marker is. Nothing is lost behind it.
            assert (ours, own.versions) == ([line["version_id"]], 2), what
            continue
        if key in application.etags:
            assert own.current == application.etags[key], what
            must_stand.append(key)
        elif key in application.deleted:
            assert own.current is None, what
        elif line is None or line["code"] == NOT_SENT.code:
            assert own.current == one.etag, what
        wrote_anew = own.current is not None and deed.startswith(("overwritten", "uploaded"))
        if line is None or line["code"] == NOT_SENT.code:
            assert not ours or wrote_anew, what
            continue
        outcome, let_go = line["outcome"], answers.before[key]
        settled = len(let_go) > 1 or line["code"] == BY_LOOKING  # a run that was killed had begun it
        went = outcome == "deleted" or (outcome == "unknown" and key not in application.deleted)
        if went:
            assert not all(at.in_use for at in let_go), what  # never in spite of the last answer
        elif not settled and let_go[0].in_use:
            assert outcome == "referenced_again", what
        if outcome in ("referenced_again", "held", "changed"):
            # A run that was killed may have deleted it before the application wrote it anew: our marker then lies below.
            assert not ours or (settled and wrote_anew), what
        if outcome == "referenced_again":
            assert any(at.in_use is not False for at in let_go), what
        if application.wants(key) and key not in application.etags:
            if outcome == "referenced_again" or answers.last_began(key) > application.in_use_since[key]:
                assert own.current == one.etag, what
                must_stand.append(key)
        elif key.endswith(HELD):
            assert (outcome, own.current) == ("held", one.etag), what
        elif deed == "referenced and let go" and outcome in ("deleted", "referenced_again") and key not in left:
            back = outcome == "referenced_again" or answers.used_after_it_went(key)
            # The last answer counts: one before it may have been about the chunk as a coming one, or lost with the run that got it.
            if outcome == "referenced_again" or answers.asked[key][-1][1] == back:
                assert (own.current, len(ours)) == ((one.etag, 0) if back else (None, int(versioned))), what
        elif deed == "nothing":
            assert (outcome in GONE, own.current, len(ours)) == (True, None, int(versioned)), what
        if went and own.current is None and versioned:
            assert ours == [line["version_id"]], what
    with ThreadPoolExecutor(16) as pool:
        bodies = pool.map(lambda key: application.client.get_object(Bucket=application.bucket, Key=key)["Body"].read(), must_stand)
    for key, body in zip(must_stand, bodies, strict=True):
        assert body == application.body(key), key
    return must_stand
