"""One answer of the service that a screen shows: asked for when what it depends on has changed, never by the clock."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from igrt_hw.client import ClientError

T = TypeVar("T")


class Book(Generic[T]):
    """The last answer, what it answers to (`stamp`), and what went wrong with the question after it."""

    def __init__(self) -> None:
        self.value: T | None = None
        self.problem = ""
        self.stamp: object = None
        self._asked: object = None
        self._waiting = False

    def due(self, stamp: object) -> bool:
        """Whether the service is to be asked: the stamp is another one, and no question is on its way."""
        return not self._waiting and stamp != self._asked

    def begin(self, stamp: object) -> None:
        """Take note that the question is on its way; at once, so that it is not asked twice."""
        self._asked, self._waiting = stamp, True

    async def fill(self, stamp: object, ask: Callable[[], Awaitable[T]]) -> None:
        """Ask and keep the answer; a refusal is kept as its sentence and not asked again for the same stamp."""
        try:
            value = await ask()
        except ClientError as error:
            self.problem = str(error)
        else:
            self.value, self.stamp, self.problem = value, stamp, ""
        finally:
            self._waiting = False

    def forget(self) -> None:
        """Ask anew with the next drawing."""
        self._asked = None

    def answer(self, stamp: object) -> T | None:
        """Return the answer to this very question, None while there is none."""
        return self.value if self.stamp == stamp else None
