"""The judge can fail: with one guard taken out of what it judges, each promise is found broken.

Every test weakens one thing (a rig that lies, a supervisor with other rules, a simulator with a fault that the campaign
does not know of) and asks for the violation that follows. Beside each stands the same session untouched, which passes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from igrt_hw.campaign import session as campaign
from igrt_hw.campaign.rig import Person, Rig, supervisor_config
from igrt_hw.devices.plan import MotionPlan as LineMotionPlan
from igrt_hw.geometry import Correction
from igrt_hw.link import messages as m
from igrt_hw.models import commands
from igrt_hw.models.commands import Command
from igrt_hw.models.proposal import ClearanceStrip
from igrt_hw.models.status import LoopState
from igrt_hw.safety import effects as fx
from igrt_hw.safety.rules import demonstration_rules
from igrt_hw.server import hands

SEEDS = range(12)


def promises(rig_of: Callable[..., Rig], seeds: Sequence[int] = SEEDS) -> set[str]:
    """What was found broken over some sessions without faults."""
    found: set[str] = set()
    for seed in seeds:
        report = campaign.run_session(seed, faults=False, rig_of=rig_of)
        found |= {violation.promise for violation in report.violations}
    return found


def test_the_same_sessions_untouched_break_nothing() -> None:
    assert promises(Rig) == set()


class SlowRig(Rig):
    """A department that moves slowly, so that a movement outlasts the run-on of a stop."""

    def _begin(self) -> None:
        slow = {"speed_mm_s": 1.5, "speed_deg_s": 0.15}
        self.config = self.config.model_copy(update=slow)
        super()._begin()


class StuckEnable(SlowRig):
    """Both contacts of the enable weld while it is held, and the supervisor goes on giving leases."""

    _let_go = False

    def hold(self, position: str) -> None:
        if not self._let_go and self.state is LoopState.MOVING and position != "enabled":
            self._let_go = True  # the hand has let go, once and for all; the contacts have not
            self.enable = position
        elif not self._let_go:
            super().hold(position)


def test_motion_without_a_held_enable_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("igrt_hw.campaign.people.RELEASES", 0.2)
    assert promises(SlowRig) == set()
    assert "permission" in promises(StuckEnable)


class DeafToStop(Rig):
    """STOP of people reaches nobody."""

    def ask(self, command: Command, person: Person, *, mistaken: bool = False) -> fx.Answer | None:
        if isinstance(command, commands.Stop):
            answer = fx.Answer(True, "Stopped.")
            self.onlooker.asked(command, person, answer, mistaken)
            return answer
        return super().ask(command, person, mistaken=mistaken)


def test_motion_that_goes_on_after_a_stop_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("igrt_hw.campaign.people.SLIPS", ("stop", "idle"))
    monkeypatch.setattr("igrt_hw.campaign.people.MISTAKE", 0.3)
    assert "stop" not in promises(Rig)
    assert "stop" in promises(DeafToStop)


class OneIsEnough(Rig):
    """A supervisor that asks for one person where the rule of the site asks for two."""

    def _begin(self) -> None:
        told = self.config
        self.config = told.model_copy(update={"site_rules": demonstration_rules()})
        super()._begin()
        self.config = told


def test_too_few_approvals_are_found() -> None:
    assert "approved" in promises(OneIsEnough)


class OtherValues(Rig):
    """A driver that sends another target than was approved, and a digest check that believes it."""

    def _begin(self) -> None:
        super()._begin()
        upload = self.couch.upload

        def shifted(plan: LineMotionPlan) -> Any:
            *way, last = plan.waypoints
            moved = (last[0], last[1] - 5_000, *last[2:])
            future = upload(plan.__class__(**{**_fields(plan), "waypoints": (*way, moved)}))
            agreed = plan.plan_digest()
            return _then(future, lambda receipt: _with(receipt, device_digest=agreed))

        def execute(receipt: Any, token: bytes) -> Any:
            return self.couch.line.submit(m.Execute(self._true_digest, receipt.nonce, token))

        self.couch.upload = shifted  # type: ignore[method-assign]
        self.couch.execute = execute  # type: ignore[method-assign, assignment]

    _true_digest = b""


def _fields(plan: Any) -> dict[str, Any]:
    return {name: getattr(plan, name) for name in plan.__dataclass_fields__}


def _with(receipt: Any, **changes: Any) -> Any:
    OtherValues._true_digest = receipt.device_digest
    return receipt.__class__(**{**_fields(receipt), **changes})


def _then(future: Any, change: Callable[[Any], Any]) -> Any:
    from concurrent.futures import Future

    changed: Any = Future()

    def done(answered: Any) -> None:
        error = answered.exception()
        if error is None:
            changed.set_result(change(answered.result()))
        else:
            changed.set_exception(error)

    future.add_done_callback(done)
    return changed


def test_other_values_than_were_shown_are_found() -> None:
    assert "approved" in promises(OtherValues)


class Twice(Rig):
    """Hands that give every EXECUTE a second time, with another token."""

    def _make_hands(self) -> hands.Hands:
        rig = self

        class TwoHands(hands.Hands):
            def _execute(self, effect: fx.Execute) -> None:
                receipt = self._receipts.get(effect.nonce)
                super()._execute(effect)
                if receipt is not None:
                    rig.couch.execute(receipt, bytes(16)).add_done_callback(lambda f: f.exception())

        return TwoHands(self.couch, self.imager, self._clock, self._inbox.append)


def test_a_second_execution_is_found() -> None:
    assert "once" in promises(Twice)


class OtherValuesUnnoticed(OtherValues):
    """The same, with a supervisor that takes any place for the target and any way for the line."""

    def _begin(self) -> None:
        told = self.config
        anywhere = {"pose_gate_mm": 50.0, "pose_gate_deg": 50.0}
        rules = tuple(rule.model_copy(update=anywhere) for rule in told.site_rules)
        blind = {"site_rules": rules, "path_mm": 50.0, "path_deg": 50.0}
        self.config = told.model_copy(update=blind)
        super()._begin()
        self.config = told


def test_an_arrival_beside_the_target_and_a_way_beside_the_line_are_found() -> None:
    assert {"approved", "arrival", "line"} <= promises(OtherValuesUnnoticed)


class Optimist(Rig):
    """A clearance check that finds everything clear."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.come_near(4.0)

    def _strip(self, effect: fx.CheckPath) -> ClearanceStrip:
        return super()._strip(effect).model_copy(update={"minimum_mm": 200.0})


def test_a_path_that_does_not_keep_what_was_certified_is_found() -> None:
    assert "clearance" in promises(Optimist)


class NoStopDistance(Rig):
    """A supervisor that lets paths pass at any distance."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.come_near(9.0)

    def _begin(self) -> None:
        told = self.config
        self.config = told.model_copy(update={"clearance_stop_mm": -50.0, "clearance_warn_mm": 0.0})
        super()._begin()
        self.config = told


def test_a_path_below_the_stop_distance_is_found() -> None:
    assert "clearance" in promises(NoStopDistance)


class LongLived(Rig):
    """A supervisor for which proposals and images live for ever."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "hasty": True})

    def _begin(self) -> None:
        told = self.config
        self.config = supervisor_config(False)
        super()._begin()
        self.config = told


def test_what_is_executed_too_late_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("igrt_hw.campaign.people.HESITATES", 0.2)
    assert "fresh" in promises(LongLived)


class Believer(Rig):
    """Registration that finds nothing missing, whatever lies there."""

    def _registered(self, effect: fx.RegisterImages) -> Any:
        nothing = dict.fromkeys(self._seen[effect.image_uids], 0.0)
        first = not self._moved_once
        if not first:
            self._seen[effect.image_uids] = nothing
        else:
            self.wrong_registration = Correction(9.0, -9.0, 3.0, 0.0, 0.0, 0.0)
        self._moved_once = True
        return super()._registered(effect)

    _moved_once = False


def test_a_beam_on_a_patient_who_lies_elsewhere_is_found() -> None:
    assert "beam" in promises(Believer)


class Forgetful(Rig):
    """A record that loses what explains a movement."""

    def _record(self, record: fx.Record) -> None:
        if record.kind != "execute":
            super()._record(record)


def test_a_movement_that_no_record_explains_is_found() -> None:
    assert "log" in promises(Forgetful)


class ForgetfulByHand(Rig):
    """A record that loses what people moved by the keys of the pendant."""

    def _record(self, record: fx.Record) -> None:
        if record.kind != "manual":
            super()._record(record)


def test_a_movement_by_hand_that_no_record_explains_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("igrt_hw.campaign.people.SLIPS", ("keys",))
    monkeypatch.setattr("igrt_hw.campaign.people.MISTAKE", 0.5)
    assert promises(Rig) == set()
    assert promises(ForgetfulByHand) == {"log"}


class SilentCreep(Rig):
    """A brake slips, and nobody is told of anything."""

    def _record(self, record: fx.Record) -> None:
        pass


def test_motion_by_itself_that_nobody_is_told_of_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from igrt_hw.campaign.faults import Fault

    slips = (Fault(500_000, 9_000_000, "axis", "wrong", (("value", 1.5), ("axis", "vertical"))),)
    monkeypatch.setattr(campaign, "plan_faults", lambda seed: slips)
    monkeypatch.setattr(campaign.Misfortune, "end_all", lambda misfortune: None)
    monkeypatch.setattr(campaign, "AFTER_MOTION_US", 6_000_000)
    told = campaign.run_session(1)
    untold = campaign.run_session(1, rig_of=SilentCreep)
    assert "told" not in {violation.promise for violation in told.violations}
    assert "told" in {violation.promise for violation in untold.violations}


class Mistyped(Rig):
    """A terminal that types for people: what they typed wrong arrives right."""

    def ask(self, command: Command, person: Person, *, mistaken: bool = False) -> fx.Answer | None:
        supervisor = self.supervisor
        if isinstance(command, commands.Approve) and mistaken and supervisor is not None:
            challenge = supervisor.memory.challenge
            if challenge is not None:
                right = {"code": challenge.challenge.code, "fact": challenge.fact.shown}
                command = command.model_copy(update=right)
        return super().ask(command, person, mistaken=mistaken)


def test_an_approval_that_was_typed_wrong_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("igrt_hw.campaign.people.MISTAKE", 0.4)
    assert "approved" not in promises(Rig)
    assert "approved" in promises(Mistyped)
