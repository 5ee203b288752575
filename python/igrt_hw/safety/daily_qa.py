"""Daily QA: interlock tests that are watched, the shift test that the loop itself performs, figures entered by hand.

In the mode daily QA the loop positions a phantom as it positions a patient: same checks, approvals, enable and leases.
What the form of the shift test asks for is read off what the loop did:

    A  couch when the setup was first confirmed: the phantom aligned with the lasers
    C  couch at the images, when it stood elsewhere than A       D  correction that was registered there
    F  couch after it arrived                                    what the verification images still asked for

Images at A itself are the coincidence of imager and room. Nothing here moves, permits or forbids anything.
"""

from __future__ import annotations

from igrt_hw.models import commands
from igrt_hw.models.qa import QaResult, QaRun, QaTest
from igrt_hw.models.status import LoopState
from igrt_hw.safety import effects as fx
from igrt_hw.safety import events as ev
from igrt_hw.safety.couch_model import rotation_total_deg
from igrt_hw.safety.interlock_tests import STAGES, Watching, at_rest
from igrt_hw.safety.manual import Manual
from igrt_hw.safety.memory import QaSession
from igrt_hw.safety.qa_standing import standing
from igrt_hw.safety.qa_tests import (
    BY_NAME,
    IMAGER_COINCIDENCE,
    QA_TESTS,
    ROTATION,
    SHIFT_MATCHING,
    SHIFT_MOTION,
    SHIFT_VERIFICATION,
)

S = LoopState
FROM_THE_LOOP = frozenset({"shift test"})
KNOWN_SHIFT_MM_MIN = 5.0
"""A displacement below this proves little: it is inside what a match may be wrong by without being seen."""
NOT_FINISHED = "the end of the run: it was abandoned"
STAGE_US_MAX = 120_000_000


class DailyQa(Manual):
    """The daily tests of a room."""

    # ---- what people ask for

    def _begin_qa(self, user: ev.UserCommand, now_us: int) -> fx.Answer:
        m, command = self._m, user.command
        if m.mode != "daily QA" or not isinstance(command, commands.BeginQa):
            return fx.Answer(
                False, "daily QA is done in its own mode; enter the mode daily QA first"
            )
        self._abandon_qa(user.username, now_us)
        run = QaRun(
            run_id=f"Q-{self._draw(1 << 48):012x}",
            machine=m.config.machine,
            level=command.level,
            day=m.day(now_us),
            begun_utc=self.utc(now_us),
            begun_by=user.username,
            finished_utc="",
            finished_by="",
            passed=False,
            missing=(),
            results=(),
        )
        m.qa = QaSession(run, seen=m.registration)
        data: dict[str, object] = {
            "run_id": run.run_id,
            "machine": run.machine,
            "level": run.level,
            "day": run.day,
        }
        self._record("qa begun", user.username, f"daily QA begun, {run.level}", data)
        return fx.Answer(True, f"Daily QA has begun, {run.level} tolerances.", dict(data))

    def _watch_interlock(self, user: ev.UserCommand, now_us: int) -> fx.Answer:
        m, command = self._m, user.command
        if m.qa is None or not isinstance(command, commands.WatchInterlock):
            return fx.Answer(False, "no daily QA is going on; begin it first")
        test = BY_NAME.get(command.test)
        if test is None or test.name not in STAGES:
            return fx.Answer(
                False, f"{command.test} is no interlock test; they are: {', '.join(STAGES)}"
            )
        problem = at_rest(test.name, m, now_us)
        if problem:
            return fx.Answer(False, f"{test.name} cannot be tested now: {problem}")
        m.qa.watching = Watching(test.name, user.username, 0, now_us)
        return fx.Answer(True, test.steps[0], {"test": test.name, "step": test.steps[0]})

    def _note_qa(self, user: ev.UserCommand, now_us: int) -> fx.Answer:
        m, command = self._m, user.command
        if m.qa is None or not isinstance(command, commands.NoteQa):
            return fx.Answer(False, "no daily QA is going on; begin it first")
        test = BY_NAME.get(command.test)
        problem = _not_by_hand(test, command)
        if test is None or problem:
            return fx.Answer(False, problem)
        if command.value is None:
            self._qa_functional(test, command.passed is True, command.text, user.username, now_us)
        else:
            self._qa_measured(test, command.value, command.text, user.username, now_us)
        return fx.Answer(True, m.qa.run.results[-1].sentence)

    def _finish_qa(self, user: ev.UserCommand, now_us: int) -> fx.Answer:
        run = self._end_qa(user.username, now_us, ())
        if run is None:
            return fx.Answer(False, "no daily QA is going on; begin it first")
        if run.passed:
            return fx.Answer(True, "Daily QA passed.", {"passed": True})
        missing = ", ".join(run.missing)
        sentence = f"Daily QA has NOT passed; without a passed result: {missing}."
        return fx.Answer(True, sentence, {"passed": False, "missing": list(run.missing)})

    def _hear_runs(self, runs: tuple[QaRun, ...]) -> None:
        """What the record says of earlier runs joins what was seen since the start."""
        known = {run.run_id for run in self._m.qa_runs}
        self._m.qa_runs += tuple(run for run in runs if run.run_id not in known)

    def _abandon_qa(self, username: str, now_us: int) -> None:
        """What was begun and not finished has failed."""
        if self._m.qa is not None:
            self._end_qa(username, now_us, (NOT_FINISHED,))

    def _end_qa(self, username: str, now_us: int, wanting: tuple[str, ...]) -> QaRun | None:
        m = self._m
        if m.qa is None:
            return None
        last = {result.test: result.passed for result in m.qa.run.results}
        required = m.config.qa_required
        missing = (*(name for name in required if not last.get(name, False)), *wanting)
        run = m.qa.run.model_copy(
            update={
                "finished_utc": self.utc(now_us),
                "finished_by": username,
                "passed": not missing,
                "missing": missing,
            }
        )
        m.qa, m.qa_runs = None, (run, *m.qa_runs)
        word = "passed" if run.passed else "NOT passed"
        data: dict[str, object] = {
            "run_id": run.run_id,
            "passed": run.passed,
            "missing": list(missing),
        }
        self._record("qa finished", username, f"daily QA {word}", data)
        m.daily_qa = standing(m.qa_runs, m.day(now_us), m.config.machine, None)
        return run

    # ---- what is watched

    def _follow_qa(self, now_us: int) -> None:
        """After every event and tick: whether a watched interlock went on, and what the loop has measured."""
        m = self._m
        if m.qa is None:
            return
        if m.qa.watching is not None:
            self._follow_interlock(m.qa, m.qa.watching, now_us)
        self._follow_phantom(m.qa, now_us)

    def _follow_door(self, now_us: int) -> None:
        m, imager = self._m, self._m.imager.last
        if imager is None or imager.door_closed:
            m.door_open_us = None
        elif m.door_open_us is None:
            m.door_open_us = now_us

    def _follow_interlock(self, qa: QaSession, watching: Watching, now_us: int) -> None:
        test = BY_NAME[watching.test]
        stages = STAGES[watching.test]
        verdict = stages[watching.stage](self._m, watching, now_us)
        if verdict is None and now_us - watching.since_us > STAGE_US_MAX:
            verdict = f"not seen within {STAGE_US_MAX // 1_000_000} s: {test.steps[watching.stage]}"
        if verdict is None:
            return
        last = watching.stage == len(stages) - 1
        if verdict or last:
            qa.watching = None
            self._qa_functional(test, not verdict, verdict, watching.by, now_us)
        else:
            qa.watching = Watching(test.name, watching.by, watching.stage + 1, now_us)

    def _follow_phantom(self, qa: QaSession, now_us: int) -> None:
        m, couch = self._m, self._m.couch.last
        if m.plan is None:
            qa.aligned = qa.displaced = qa.found = qa.reached = None
            return
        if couch is None:
            return
        if m.state is S.SETUP and m.setup_confirmed and qa.aligned is None:
            qa.aligned = couch.primary
            self._record(
                "qa", qa.run.begun_by, "the phantom is aligned", {"axes": list(couch.primary)}
            )
        if m.state is S.ARRIVED and qa.found is not None and qa.reached is None:
            qa.reached = m.rest_axes or couch.primary
        if m.registration is not None and m.registration is not qa.seen:
            qa.seen = m.registration
            self._registered(qa, now_us)

    def _registered(self, qa: QaSession, now_us: int) -> None:
        """A registration of the phantom: at A, displaced from it, or after the move."""
        m = self._m
        if qa.aligned is None or m.stamp is None or m.registration is None:
            return
        correction = m.registration.summary.correction
        if qa.reached is not None:
            self._judge_shift(qa, now_us)
            return
        moved = m.model.difference(qa.aligned, m.stamp.couch_axes)
        if moved.within(m.config.moved_mm, m.config.moved_deg):
            turn = rotation_total_deg(correction)
            self._both(IMAGER_COINCIDENCE, correction.magnitude_mm, turn, now_us)
        elif moved.mm >= KNOWN_SHIFT_MM_MIN:
            qa.displaced, qa.found = m.stamp.couch_axes, correction

    def _judge_shift(self, qa: QaSession, now_us: int) -> None:
        m = self._m
        if (
            qa.aligned is None
            or qa.displaced is None
            or qa.found is None
            or qa.reached is None
            or m.registration is None
        ):
            return
        form = m.model.judge_shift(
            qa.aligned,
            qa.displaced,
            qa.found,
            qa.reached,
            m.registration.summary.correction,
            qa.run.level,
        )
        self._record("qa", "supervisor", "shift test", {"form": form.model_dump(mode="json")})
        self._both(SHIFT_MATCHING, form.matching.mm, form.matching.deg, now_us)
        self._both(SHIFT_MOTION, form.motion.mm, form.motion.deg, now_us)
        if form.verification is not None:
            self._both(SHIFT_VERIFICATION, form.verification.mm, form.verification.deg, now_us)
        qa.displaced = qa.found = qa.reached = None

    # ---- results

    def _both(self, name: str, mm: float, deg: float, now_us: int) -> None:
        by = self._m.qa.run.begun_by if self._m.qa is not None else "supervisor"
        self._qa_measured(BY_NAME[name], mm, "", by, now_us)
        self._qa_measured(BY_NAME[name + ROTATION], deg, "", by, now_us)

    def _qa_measured(self, test: QaTest, value: float, text: str, by: str, now_us: int) -> None:
        qa = self._m.qa
        limit = test.limit(qa.run.level) if qa is not None else None
        passed = limit is not None and abs(value) <= limit
        word = "within" if passed else "beyond"
        sentence = f"{test.name}: {value:.2f} {test.unit}, {word} {limit:g} {test.unit}"
        self._keep(
            test, passed, value, limit, f"{sentence}. {text}" if text else sentence, by, now_us
        )

    def _qa_functional(self, test: QaTest, passed: bool, text: str, by: str, now_us: int) -> None:
        sentence = f"{test.name}: {'works' if passed else 'FAILED'}"
        self._keep(
            test, passed, None, None, f"{sentence}. {text}" if text else sentence, by, now_us
        )

    def _keep(
        self,
        test: QaTest,
        passed: bool,
        value: float | None,
        limit: float | None,
        sentence: str,
        by: str,
        now_us: int,
    ) -> None:
        qa = self._m.qa
        if qa is None:
            return
        result = QaResult(
            run_id=qa.run.run_id,
            test=test.name,
            kind=test.kind,
            passed=passed,
            value=value,
            limit=limit,
            unit=test.unit,
            sentence=sentence,
            by=by,
            at_utc=self.utc(now_us),
        )
        qa.run = qa.run.model_copy(update={"results": (*qa.run.results, result)})
        self._record(
            "qa result", by, sentence, result.model_dump(mode="json", exclude={"sequence"})
        )


def _not_by_hand(test: QaTest | None, command: commands.NoteQa) -> str:
    """Why a figure may not be entered by hand; empty: it may."""
    if test is None:
        return f"there is no daily test {command.test}; they are: {', '.join(t.name for t in QA_TESTS)}"
    if test.name in STAGES:
        return f"{test.name} is watched, not entered: watch the interlock"
    if test.kind in FROM_THE_LOOP or test.name.startswith(IMAGER_COINCIDENCE):
        return f"{test.name} comes from the loop with a phantom, it is not entered"
    if (command.value is None) == (command.passed is None):
        return "give either a value or whether it passed"
    if test.limit_general is None and command.value is not None:
        return f"{test.name} has no tolerance: say whether it passed"
    if test.limit_general is not None and command.value is None:
        return f"{test.name} has a tolerance: give the value in {test.unit}"
    if command.value is not None and command.value < 0:
        return f"{test.name} is a distance: it is not below zero"
    return ""
