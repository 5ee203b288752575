"""What the plain mode reads from the service's books, and daily QA by words.

Every answer is asked for when its word is typed; nothing is kept but the procedures, which have to be there when the
supervisor is not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

from igrt_hw.client import ClientError
from igrt_hw.models.commands import (
    BeginQa,
    Command,
    EnterMode,
    FinishQa,
    NoteQa,
    WatchInterlock,
)
from igrt_hw.models.procedures import Procedure
from igrt_tui.supervisor import Supervisor
from igrt_tui.view_model import plain_books, qa
from igrt_tui.view_model.local import Scene

Answerer = Callable[[str], Awaitable[None]]
DAYS_MAX = 365
NO_PATIENT = "no patient is bound: the shifts of all fractions are read once one is open"


class PlainBooks:
    """`take` does what a typed line asks of the books, or says that it means nothing to them."""

    def __init__(
        self,
        supervisor: Supervisor,
        scene: Callable[[], Scene],
        say: Callable[[str], None],
        ask: Callable[[str, Answerer], None],
        send: Callable[[Command], Awaitable[bool]],
    ) -> None:
        self._supervisor = supervisor
        self._scene = scene
        self._say = say
        self._ask = ask
        self._send = send
        self._procedures: list[Procedure] = []
        self._chosen: Procedure | None = None
        self._step = 0

    async def open(self) -> None:
        """Fetch the procedures, once somebody is signed in."""
        with suppress(ClientError):
            self._procedures = await self._supervisor.procedures()

    async def take(self, line: str) -> bool:
        """Do what a line in small letters asks for; False if it is none of these words."""
        word, _, rest = line.partition(" ")
        takers: dict[str, Callable[[str], Awaitable[None]]] = {
            "qa": self._qa,
            "trends": self._trends,
            "procedures": self._list_procedures,
            "procedure": self._open_procedure,
            "reviews": self._reviews,
        }
        taker = takers.get(word)
        if taker is not None:
            await taker(rest.strip())
        elif line in ("next", "back", "again") and self._chosen is not None:
            self._go({"next": 1, "back": -1, "again": 0}[line])
        else:
            return False
        return True

    def _say_all(self, said: tuple[str, ...]) -> None:
        for words in said:
            self._say(words)

    # Procedures

    async def _list_procedures(self, _: str) -> None:
        if not self._procedures:
            self._procedures = await self._supervisor.procedures()
        status = self._scene().status
        self._say_all(
            plain_books.procedures_said(self._procedures, status.procedure if status else "")
        )

    async def _open_procedure(self, number: str) -> None:
        """Open one by its number; without one the procedure that the state asks for."""
        if not self._procedures:
            self._procedures = await self._supervisor.procedures()
        status = self._scene().status
        wanted = status.procedure if status else ""
        if number.isdigit() and 1 <= int(number) <= len(self._procedures):
            self._chosen = self._procedures[int(number) - 1]
        else:
            self._chosen = next((p for p in self._procedures if p.name == wanted), None)
        if self._chosen is None:
            self._say("type procedure and a number; procedures lists them")
            return
        self._step = 0
        self._say(f"{self._chosen.title}. {self._chosen.when}")
        self._go(0)

    def _go(self, further: int) -> None:
        if self._chosen is not None:
            self._step = max(0, min(len(self._chosen.steps), self._step + further))
            self._say(plain_books.step_said(self._chosen, self._step))

    # Trends and the review list

    async def _trends(self, _: str) -> None:
        status = self._scene().status
        if status is None or status.plan is None:
            self._say(NO_PATIENT)
            return
        plan = status.plan
        trend = await self._supervisor.shift_trend(plan.patient.patient_id, plan.plan_uid)
        now = self._scene().status
        if now is None or now.plan is None or now.plan.plan_uid != plan.plan_uid:
            self._say("the patient was changed meanwhile: type trends again")
            return
        self._say_all(plain_books.trend_said(trend))

    async def _reviews(self, days: str) -> None:
        if days and not (days.isdigit() and 1 <= int(days) <= DAYS_MAX):
            self._say(f"refused: reviews takes days, 1 to {DAYS_MAX}")
            return
        count = int(days or 7)
        overrides = await self._supervisor.override_review(days=count)
        alarms = await self._supervisor.alarm_review(days=count)
        self._say_all(plain_books.review_said(overrides, alarms, count))

    # Daily QA

    async def _rows(self) -> tuple[qa.Row, ...]:
        tests = await self._supervisor.qa_tests()
        runs = await self._supervisor.qa_runs(limit=5)
        status = self._scene().status
        return qa.rows(tests, status.qa if status else None, runs)

    async def _qa(self, rest: str) -> None:
        act, _, what = rest.partition(" ")
        if not rest:
            runs = await self._supervisor.qa_runs(limit=5)
            self._say_all(plain_books.qa_said(self._scene(), await self._rows(), runs))
        elif act.isdigit():
            await self._read_test(act)
        elif act == "begin" and what in ("general", "stereotactic"):
            self._begin(what)
        elif act == "mode" and what in ("daily", "clinical"):
            self._mode(what)
        elif act == "end":
            await self._end()
        elif act in ("watch", "enter"):
            await self._of_test(act, what)
        else:
            self._say(f"'qa {rest}' means nothing here")
            self._say_all(plain_books.QA_WORDS)

    async def _row(self, number: str) -> qa.Row | None:
        rows = await self._rows()
        if number.isdigit() and 1 <= int(number) <= len(rows):
            return rows[int(number) - 1]
        self._say(f"refused: there is no test {number}; qa lists them with their numbers")
        return None

    async def _read_test(self, number: str) -> None:
        row = await self._row(number)
        if row is not None:
            trend = await self._supervisor.qa_trend(row.test.name)
            self._say_all(plain_books.test_said(row, trend))

    def _affirm(self, act: str, words: str, command: Command, row: qa.Row | None = None) -> None:
        reason = qa.why_not(act, self._scene(), row, qa.WORDS)
        if reason:
            self._say(f"refused: {reason}")
            return

        async def take(text: str) -> None:
            late = qa.why_not(act, self._scene(), row, qa.WORDS)
            if text.strip().lower() != "do":
                self._say("left; nothing was done")
            elif late:
                self._say(f"refused: {late}")
            else:
                await self._send(command)

        self._ask(f"{words} Type do and Enter to go on, anything else to leave it:", take)

    def _begin(self, level: str) -> None:
        status = self._scene().status
        going = status is not None and status.qa is not None
        lost = " The run that is going on is abandoned and has FAILED." if going else ""
        words = f"Begin the daily QA at {level} limits, recorded under your name.{lost}"
        command = BeginQa(level="general" if level == "general" else "stereotactic")
        self._affirm("begin", words, command)

    def _mode(self, mode: str) -> None:
        if mode == "daily":
            words = "Enter the mode daily QA: phantoms only, no patient can be opened."
            self._affirm("mode", words, EnterMode(mode="daily QA"))
        else:
            words = "Go back to the mode clinical rehearsal."
            self._affirm("mode", words, EnterMode(mode="clinical rehearsal"))

    async def _end(self) -> None:
        missing = [
            row.test.name
            for row in await self._rows()
            if row.test.required and row.outcome != "passed"
        ]
        words = "End this run: every required test has passed."
        if missing:
            words = f"End this run. It will NOT pass: without a pass are {', '.join(missing)}."
        self._affirm("finish", words, FinishQa())

    async def _of_test(self, act: str, number: str) -> None:
        row = await self._row(number)
        if row is None:
            return
        reason = qa.why_not("watch" if act == "watch" else "note", self._scene(), row, qa.WORDS)
        if reason:
            self._say(f"refused: {reason}")
        elif act == "watch":
            await self._send(WatchInterlock(test=row.test.name))
        else:
            self._enter(row)

    def _enter(self, row: qa.Row) -> None:
        """Take a result by hand: the value, a remark, the word that enters it."""

        async def take_value(text: str) -> None:
            typed = qa.typed_result(text, row.test.unit)
            if typed.problem:
                self._say(f"refused: {typed.problem}")
                return

            async def take_remark(remark: str) -> None:
                words = remark.strip()
                command = NoteQa(
                    test=row.test.name,
                    value=typed.value,
                    passed=typed.passed,
                    text="" if words == "-" else words,
                )
                self._affirm("note", f"{row.test.name}: {self._verdict(row, typed)}.", command, row)

            self._ask("remark, or - for none:", take_remark)

        unit = row.test.unit or "the word passed or failed"
        self._ask(f"result of {row.test.name}, {unit}:", take_value)

    @staticmethod
    def _verdict(row: qa.Row, typed: qa.Typed) -> str:
        if typed.value is None:
            return "passed" if typed.passed else "FAILED"
        said = f"{typed.value:g} {row.test.unit}"
        if row.limit is None:
            return f"{said}; this level has no limit, the supervisor judges"
        inside = abs(typed.value) <= row.limit
        return f"{said}, {'within' if inside else 'BEYOND'} the limit of {row.limit:g}"
