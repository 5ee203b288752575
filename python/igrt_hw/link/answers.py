"""Futures of answers: one for a command, or one for many."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import cast

from igrt_hw.link import messages as m
from igrt_hw.link.errors import LinkError
from igrt_hw.link.events import Outcome


def running_future() -> Future[m.Message]:
    """A future that nobody can cancel: what went out on a line cannot be taken back."""
    future: Future[m.Message] = Future()
    future.set_running_or_notify_cancel()
    return future


class Reply:
    """The answer that one caller waits for by doing the line's turns itself: no lock, no waking."""

    __slots__ = ("result",)

    def __init__(self) -> None:
        self.result: m.Message | LinkError | None = None

    def get(self) -> m.Message:
        """The answer; raises what became of the command instead, or `TimeoutError`."""
        if self.result is None:
            raise TimeoutError("no answer in the time that the caller would wait")
        if isinstance(self.result, LinkError):
            raise self.result
        return self.result


class Batch:
    """Commands that have one future together: all answers in order, or the first failure."""

    def __init__(self, count: int) -> None:
        self.future: Future[list[m.Message]] = Future()
        self.future.set_running_or_notify_cancel()
        self._answers: list[m.Message | None] = [None] * count
        self._left = count

    def settle(self, index: int, result: m.Message | LinkError) -> None:
        """Take one outcome."""
        if self.future.done():
            return
        if isinstance(result, LinkError):
            self.future.set_exception(result)
            return
        self._answers[index] = result
        self._left -= 1
        if self._left == 0:
            self.future.set_result(cast("list[m.Message]", self._answers))


def settle(outcomes: Sequence[Outcome]) -> None:
    """Resolve futures. Outside any lock: whoever waits on one may go on to give commands."""
    for token, result in outcomes:
        if isinstance(token, Reply):
            token.result = result
        elif isinstance(token, tuple):
            batch, index = token
            batch.settle(index, result)
        elif isinstance(token, Future):
            if isinstance(result, Exception):
                token.set_exception(result)
            else:
                token.set_result(result)
