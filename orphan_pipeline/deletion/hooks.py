"""Calls the operator's own functions around each chunk. Before: what they hold stays, and what they raise stops the run. After: the
ledger is written already, so one that fails is tried again, then reported, and the next run of the plan tells it once more.

`{chunk}.hooks.json` beside a chunk's outcome: which hooks were told of it, and the error of each that would not have it.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any

from tenacity import Retrying, stop_after_attempt, wait_random_exponential

from orphan_pipeline.deletion.ledger import Answer, Ledger, LedgerPlan, Planned
from orphan_pipeline.errors import BadSettings, Refused
from orphan_pipeline.hooks import ChunkAfter, ChunkBefore
from orphan_pipeline.lake.files import read_document, write_document
from orphan_pipeline.settings.deletion import DeletionSettings
from orphan_pipeline.settings.hooks import HookSettings
from orphan_pipeline.settings.values import EnvRef

ATTEMPTS = 5
LONGEST_WAIT = 20.0
SHOWN = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """A function that is there and takes what it will be given."""

    name: str
    function: Callable[..., object]
    options: Mapping[str, Any] = field(repr=False)

    secrets: tuple[str, ...] = field(repr=False)

    def __call__(self, chunk: ChunkBefore) -> object:
        return self.function(chunk, **self.options)

    def said(self, error: BaseException) -> str:
        """An error of the hook's on one line, without its secrets: libraries like to repeat a URL."""
        text = f"{type(error).__name__}: {_one_line(error)}"
        for secret in self.secrets:
            text = text.replace(secret, "…")
        return text


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedHooks:
    """The hooks of one bucket, ready to be called."""

    before: tuple[Hook, ...] = ()
    after: tuple[Hook, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Of one chunk: who was told, and the errors of those who were not."""

    told: tuple[str, ...]
    failed: Mapping[str, str]
    at: datetime


def resolve_hooks(settings: DeletionSettings, *, at: str) -> ResolvedHooks:
    """Imports every hook and looks whether it takes a chunk and its options; `at` says where the settings stand (`buckets.media`).

    Raises BadSettings, a line for each that cannot be called so, and for each secret that is not set.
    """
    found: dict[str, list[Hook]] = {"before_chunk": [], "after_chunk": []}
    wrong: list[str] = []
    for kind, hooks in (("before_chunk", settings.before_chunk), ("after_chunk", settings.after_chunk)):
        for place, hook in enumerate(hooks):
            try:
                again = sum(other.call == hook.call for other in hooks[:place])
                found[kind].append(_resolved(hook, name=f"{hook.call} ({again + 1})" if again else hook.call))
            except BadSettings as error:
                wrong.extend(f"{at}.deletion.{kind}[{place}]: {line}" for line in error.lines)
    if wrong:
        raise BadSettings(*wrong)
    return ResolvedHooks(before=tuple(found["before_chunk"]), after=tuple(found["after_chunk"]))


class Hooks:
    """See `deletion.guards.Guard`."""

    def __init__(
        self, hooks: ResolvedHooks, *, ledger: Ledger, of: LedgerPlan, bucket_name: str, run_id: str, report: Callable[[str], None]
    ) -> None:
        self._hooks, self._ledger, self._report = hooks, ledger, report
        self._about: dict[str, Any] = {
            "bucket": of.bucket,
            "bucket_name": bucket_name,
            "prefix": of.prefix,
            "sweep_id": of.sweep_id,
            "plan": of.digest,
            "run_id": run_id,
        }
        self._lock = Lock()
        self._gave_up: set[str] = set()
        self.failures: dict[str, str] = {}
        """Hooks that would not have some chunk, each with its last error."""

    def tell_what_is_left(self) -> None:
        """Chunks that a former run finished and some hook was not told of: the run was killed, or the hook failed."""
        if not self._hooks.after:
            return
        for chunk in map(self._ledger.chunk_of, self._ledger.parquet()):
            told = self._read(chunk)
            if told is None or not {hook.name for hook in self._hooks.after} <= set(told.told):
                lines = self._ledger.recorded(chunk)
                self.after(chunk, [planned for planned, _ in lines], [answer for _, answer in lines])

    def before(self, chunk: int, planned: Sequence[Planned]) -> Mapping[str, Answer]:
        held: dict[str, Answer] = {}
        for hook in self._hooks.before:
            rows = [one for one in planned if one.key not in held]
            held.update(self._held_by(hook, ChunkBefore(chunk=chunk, rows=rows, **self._about)))
        return held

    def before_request(self, chunk: int, planned: Sequence[Planned]) -> Mapping[str, Answer]:
        """A hook is asked once a chunk."""
        return {}

    def after(self, chunk: int, planned: Sequence[Planned], answers: Sequence[Answer]) -> None:
        if not self._hooks.after:
            return
        former = self._read(chunk)
        told = set(former.told) if former else set()
        failed = {}
        done = ChunkAfter(chunk=chunk, rows=planned, answers=answers, **self._about)
        for hook in self._hooks.after:
            if hook.name not in told:
                error = self._tell(hook, done)
                if error is None:
                    told.add(hook.name)
                else:
                    failed[hook.name] = error
        write_document(self._file(chunk), Told, Told(told=tuple(sorted(told)), failed=failed, at=datetime.now(UTC)))

    def finish(self) -> None:
        """Every chunk was told of when it went."""

    def _held_by(self, hook: Hook, chunk: ChunkBefore) -> dict[str, Answer]:
        try:
            given = hook(chunk)
        except Exception as error:
            raise Refused(f"hook {hook.name} stopped the run before chunk {chunk.chunk}: {hook.said(error)}") from None
        if given is None:
            return {}
        keys = {row.key for row in chunk.rows}
        if not isinstance(given, Mapping) or not all(key in keys and isinstance(why, str) and why for key, why in given.items()):
            raise Refused(
                f"hook {hook.name} gave something else than keys of chunk {chunk.chunk}, each with a reason; nothing of it was sent"
            )
        return {key: Answer("held", code=why) for key, why in given.items()}

    def _tell(self, hook: Hook, chunk: ChunkAfter) -> str | None:
        """The error, if it would not have it. A hook that gave up once is tried once a chunk from then on: it must not keep others."""
        attempts = 1 if hook.name in self._gave_up else ATTEMPTS
        try:
            Retrying(stop=stop_after_attempt(attempts), wait=wait_random_exponential(multiplier=0.5, max=LONGEST_WAIT), reraise=True)(
                hook, chunk
            )
        except Exception as error:
            said = hook.said(error)
            with self._lock:
                self._gave_up.add(hook.name)
                first = hook.name not in self.failures
                self.failures[hook.name] = f"chunk {chunk.chunk}: {said}"
            if first:
                self._report(f"hook {hook.name} failed for chunk {chunk.chunk} and will be told again by the next run of this plan: {said}")
            return said
        with self._lock:
            self._gave_up.discard(hook.name)
        return None

    def _read(self, chunk: int) -> Told | None:
        path = self._file(chunk)
        return read_document(path, Told) if path.is_file() else None

    def _file(self, chunk: int) -> Path:
        return self._ledger.folder / f"{chunk:08d}.hooks.json"


def _resolved(hook: HookSettings, *, name: str) -> Hook:
    module_name, _, function_name = hook.call.partition(":")
    try:
        module = import_module(module_name)
    except Exception as error:  # whatever the operator's module does when it is imported
        raise BadSettings(f"found {hook.call!r}, but {module_name} does not import: {_one_line(error)}") from None
    function = getattr(module, function_name, None)
    if not callable(function):
        raise BadSettings(f"found {hook.call!r}, but {module_name} has no function {function_name}")
    options = {option: value.read() if isinstance(value, EnvRef) else value for option, value in hook.options.items()}
    try:
        inspect.signature(function).bind(None, **options)
    except TypeError as error:
        raise BadSettings(f"found {hook.call!r}, but it cannot be called with these options: {error}") from None
    secrets = tuple(str(options[option]) for option, value in hook.options.items() if isinstance(value, EnvRef))
    return Hook(name=name, function=function, options=options, secrets=secrets)


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
