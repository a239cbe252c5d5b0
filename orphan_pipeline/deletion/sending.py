"""Sends the deletes of one chunk until each key has its answer. A request that fails is never simply sent again: where the store may have
acted on it, what it did is looked up first, and only what still stands is asked to go once more."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from time import monotonic

from orphan_pipeline.deletion.ledger import Answer, Planned
from orphan_pipeline.deletion.pace.pace import Pace
from orphan_pipeline.deletion.requests import MAYBE_DONE, TOO_BUSY, TRY_AGAIN, tried_until_done
from orphan_pipeline.deletion.wire.deletes import seconds_on_the_wire

NO_ANSWER = Answer("failed", code="NoAnswer")
OPEN, DOUBTFUL = TRY_AGAIN | {NO_ANSWER.code}, MAYBE_DONE | {NO_ANSWER.code}
MAY_STILL_GO = "MayStillGo"
"""Code of what is held now, or refused, and stands, followed by the code that says why (`MayStillGo:AccessDenied`); but of an earlier
request, also of a run that was killed, nobody knows whether the store has yet to carry it out."""

NOT_SENT = Answer("failed", code="NotSent")
"""Of a chunk that a run left unfinished and a restore settled: it stands, and nobody asked for it since. Whether that run had, or how far
the store has come with what it asked for, nobody knows."""

UNANSWERED = DOUBTFUL | {MAY_STILL_GO, NOT_SENT.code}
"""What the codes of keys begin with, up to a colon, of which that is so: the after-check takes them for gone, and a restore looks what
became of them."""

HELD = ("referenced_again", "held")
NOT_SENT_NOW = ("missing", "changed", *HELD)
"""After an earlier request they may be that one's doing: some stores answer 412, not 404, when there is nothing to match, and what the
guards hold now may have gone before they were asked."""

Ask = Callable[[Sequence[Planned]], Iterator[tuple[str, Answer | None]]]
"""Asks the guards about these keys and sends each that they let go, once; gives each key's answer as soon as it is there, None where none
came."""

Settle = Callable[[Sequence[Planned]], Mapping[str, Answer]]
"""By looking: the answers of those whose planned object does not stand any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """Thread-safe, if `ask` and `settle` are."""

    pace: Pace
    ask: Ask
    settle: Settle

    def answers(self, planned: Sequence[Planned], *, again: bool, known: dict[str, Answer]) -> list[Answer]:
        """One a key, in order. The rate for the keys of the first attempt was waited for already. `again`: an earlier run may have sent
        them. Raises Interrupted when the run is being stopped while something is still open; `known` then has all that is certain."""
        answers = {one.key: NO_ANSWER for one in planned} | known
        if again:
            answers |= self.settle([one for one in planned if one.key not in known])

        # A run that was killed may have left its request with the store, which carries it out whenever it likes.
        unanswered = {one.key for one in planned if one.key not in known} if again else set[str]()

        def send_what_is_open() -> bool:
            nonlocal again
            given = self._send([one for one in planned if _open(answers[one.key])], again=again, known=known)
            answers.update(given)
            unanswered.update(key for key, answer in given.items() if answer.code in DOUBTFUL)
            again = True
            return any(map(_open, answers.values()))

        def wait_and_take(seconds: float) -> None:
            self.pace.wait(seconds)
            self.pace.take(sum(map(_open, answers.values())))

        if not tried_until_done(send_what_is_open, sleep=wait_and_take):
            # Whatever the last refusal said, nobody asks after it any more: one that went all the same must not be called failed.
            answers |= self.settle([one for one in planned if _open(answers[one.key])])
        answers |= {key: may_still_go(answers[key]) for key in unanswered if _left_standing(answers[key])}
        return [answers[one.key] for one in planned]

    def _send(self, planned: Sequence[Planned], *, again: bool, known: dict[str, Answer]) -> dict[str, Answer]:
        """`again`: an earlier request for these keys may still be on its way."""
        if not planned:
            return {}
        answers: dict[str, Answer] = {}
        began = monotonic()
        for key, answer in self.ask(planned):
            answers[key] = answer or NO_ANSWER
            if not _open(answers[key]) and not _doubtful(answers[key], again=again) and not (again and _left_standing(answers[key])):
                known[key] = answers[key]  # at once: whatever breaks from here on, this marker's id is not lost
        sent = [answer for answer in answers.values() if not _held(answer)]
        if sent:
            slowed = sum(answer.code in TOO_BUSY for answer in sent)
            # On the wire, if that is known: the guards may have asked the databases meanwhile.
            self.pace.answered(keys=len(sent), refused=slowed, seconds=seconds_on_the_wire() or monotonic() - began)
        answers |= self.settle([one for one in planned if _doubtful(answers[one.key], again=again)])
        return answers


def may_still_go(answer: Answer) -> Answer:
    """What is held stays held: that is no failure of the run."""
    return replace(answer, code=":".join(filter(None, (MAY_STILL_GO, answer.code))))


def is_unanswered(code: str | None) -> bool:
    """Whether a code is one of `UNANSWERED`."""
    return (code or "").partition(":")[0] in UNANSWERED


def _open(answer: Answer) -> bool:
    return answer.outcome == "failed" and answer.code in OPEN


def _left_standing(answer: Answer) -> bool:
    """By the guards, or by a refusal that is none of those which say as much themselves."""
    return _held(answer) or (answer.outcome == "failed" and answer.code not in DOUBTFUL)


def _held(answer: Answer) -> bool:
    return answer.outcome in HELD


def _doubtful(answer: Answer, *, again: bool) -> bool:
    if answer.outcome == "failed":
        return answer.code in DOUBTFUL
    return again and answer.outcome in NOT_SENT_NOW
