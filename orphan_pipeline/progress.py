"""How long work tells that it is alive: rate, done, expected end. Callers say how much is done, this module decides when to speak;
where the words go (a run's log, a terminal) is the caller's `emit`."""

from collections.abc import Callable
from time import monotonic


class Progress:
    """Counts what one stage has done and emits a line every few seconds, not every chunk (a run-log line costs 5-7 ms)."""

    def __init__(
        self,
        stage: str,
        unit: str,
        emit: Callable[[str], None],
        *,
        total: int | None = None,
        every_seconds: float = 5.0,
        detail: Callable[[], str] | None = None,
    ) -> None:
        self._stage, self._unit, self._emit, self._total, self._every = stage, unit, emit, total, every_seconds
        self._detail = detail
        self._done = 0
        self._started = self._spoke = monotonic()

    def add(self, n: int) -> None:
        self._done += n
        if monotonic() - self._spoke >= self._every:
            self._spoke = monotonic()
            self._emit(self._line())

    def finish(self) -> None:
        self._emit(f"{self._stage}: {self._done:,} {self._unit} in {monotonic() - self._started:.1f} s")

    def _line(self) -> str:
        rate = self._done / max(monotonic() - self._started, 1e-6)
        line = f"{self._stage}: {self._done:,} {self._unit}, {rate:,.0f} {self._unit}/s"
        if self._detail is not None:
            line += f", {self._detail()}"
        if not self._total or not rate:
            return line
        left = max(self._total - self._done, 0) / rate
        return f"{line}, {min(self._done / self._total, 1):.0%} done, expected end in {left:,.0f} s"
