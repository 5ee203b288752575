"""Effects of the supervisor as commands of the drivers, and their answers as its events. No clock, no thread, no loop.

`feed` takes events from whatever thread a line answers in; the service hands them to its event loop, a campaign puts
them into the next step of its virtual time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

from igrt_hw.devices.imager import ClpImager
from igrt_hw.devices.interfaces import Couch
from igrt_hw.devices.plan import MotionPlan as LineMotionPlan
from igrt_hw.devices.plan import PlanReceipt
from igrt_hw.link.errors import LinkLost
from igrt_hw.models.telemetry import CouchFault, ImagerFault, flag_words
from igrt_hw.safety import effects as fx
from igrt_hw.safety import events as ev
from igrt_hw.safety.motion_plan import MotionPlan
from igrt_hw.server.hearing import couch_faults, imager_faults

logger = logging.getLogger(__name__)

AXES_ON_LINE = 6

T = TypeVar("T")
F = TypeVar("F", CouchFault, ImagerFault)
Feed = Callable[[ev.Event], None]


class Hands:
    """Couch and imager as the supervisor commands them; a receipt is used once, by the plan that it belongs to."""

    def __init__(
        self, couch: Couch, imager: ClpImager, clock_us: Callable[[], int], feed: Feed
    ) -> None:
        self._couch = couch
        self._imager = imager
        self._clock_us = clock_us
        self._feed = feed
        self._receipts: dict[int, PlanReceipt] = {}

    def carry_out(self, effect: fx.Effect) -> bool:
        """Give the command of an effect; False: the effect is none for these hands."""
        match effect:
            case fx.RefreshPermission(device="couch"):
                self._couch.refresh_permission(effect.until_us)
            case fx.RefreshPermission():
                self._imager.refresh_permission(effect.until_us)
            case fx.UploadPlan():
                self._upload(effect)
            case fx.Execute():
                self._execute(effect)
            case fx.Jog():
                self._jog(effect)
            case fx.Home():
                began = ev.HomingBegan(effect.request)
                self._when_answered(effect.request, self._couch.home(), lambda _: began)
            case fx.VoidPlan():
                self._couch.void_plan().add_done_callback(log_failure("PLAN_VOID"))
            case fx.SetBeamGate():
                self._set_gate(effect)
            case fx.ResetFaults():
                self._reset_faults(effect)
            case _:
                return False
        return True

    def _when_answered(
        self, request: int, future: Future[T], done: Callable[[T], ev.Event]
    ) -> None:
        future.add_done_callback(lambda answered: self._feed(outcome(request, answered, done)))

    def _upload(self, effect: fx.UploadPlan) -> None:
        def done(receipt: PlanReceipt) -> ev.Event:
            self._receipts = {receipt.nonce: receipt}
            return ev.PlanUploaded(
                effect.request,
                receipt.device_digest.hex(),
                receipt.nonce,
                receipt.stands_at,
                receipt.duration_ms,
            )

        self._when_answered(effect.request, self._couch.upload(for_line(effect.plan)), done)

    def _execute(self, effect: fx.Execute) -> None:
        receipt = self._receipts.pop(effect.nonce, None)
        problem = ""
        if receipt is None:
            problem = "the receipt of this plan is not here: approve again"
        elif receipt.device_digest.hex() != effect.plan_digest:
            problem = "the receipt is of another plan than the approved one: nothing was executed"
        elif self._clock_us() > effect.deadline_us:
            problem = "too late to execute: approve again"
        if receipt is None or problem:
            self._feed(ev.RequestFailed(effect.request, problem))
            return
        accepted = ev.ExecuteAccepted(effect.request, effect.nonce)
        future = self._couch.execute(receipt, effect.token)
        self._when_answered(effect.request, future, lambda _: accepted)

    def _jog(self, effect: fx.Jog) -> None:
        def answered(future: Future[None]) -> None:
            error = future.exception()
            if error is not None and effect.speed != 0.0:
                self._feed(ev.JogRefused(str(error)))

        self._couch.jog(effect.axis, effect.speed).add_done_callback(answered)

    def _set_gate(self, effect: fx.SetBeamGate) -> None:
        future = self._couch.set_beam_gate(effect.energise)
        if not effect.energise:
            future.add_done_callback(log_failure("BEAM_GATE 0"))
            return
        self._when_answered(
            effect.request, future, lambda on: ev.BeamGateAnswered(effect.request, on)
        )

    def _reset_faults(self, effect: fx.ResetFaults) -> None:
        """One device after the other is asked; one answer when all have given theirs."""
        remaining: list[str] = []
        waiting = list(effect.faults.items())

        def ask() -> None:
            if not waiting:
                self._feed(ev.FaultsReset(effect.request, tuple(remaining)))
                return
            device, words = waiting.pop(0)
            try:
                future = self._reset(device, words)
            except ValueError as error:
                self._feed(ev.RequestFailed(effect.request, str(error)))
                return
            future.add_done_callback(partial(answered, device))

        def answered(device: str, future: Future[tuple[str, ...]]) -> None:
            error = future.exception()
            left = (str(error),) if error is not None else future.result()
            remaining.extend(f"{device}: {words}" for words in left)
            ask()

        ask()

    def _reset(self, device: str, words: tuple[str, ...]) -> Future[tuple[str, ...]]:
        if device == "couch":
            return _words(self._couch.reset_faults(couch_faults(words)))
        if device == "imager":
            return _words(self._imager.reset_faults(imager_faults(words)))
        by_hand: Future[tuple[str, ...]] = Future()
        by_hand.set_result(tuple(f"{word} (clear it at the device)" for word in words))
        return by_hand


def _words(future: Future[F]) -> Future[tuple[str, ...]]:
    """The future of faults that remain, in words."""
    words: Future[tuple[str, ...]] = Future()

    def done(answered: Future[F]) -> None:
        error = answered.exception()
        if error is None:
            words.set_result(flag_words(answered.result()))
        else:
            words.set_exception(error)

    future.add_done_callback(done)
    return words


def outcome(request: int, future: Future[T], done: Callable[[T], ev.Event]) -> ev.Event:
    """The event of an answer, or of its failure. A line that was lost leaves it open whether the order arrived."""
    error = future.exception()
    if error is not None:
        if not type(error).__module__.startswith("igrt_hw"):
            logger.error("request %d failed", request, exc_info=error)
        return ev.RequestFailed(request, str(error), uncertain=isinstance(error, LinkLost))
    try:
        return done(future.result())
    except Exception as defect:
        logger.exception("the result of request %d cannot be used", request)
        return ev.RequestFailed(request, str(defect), uncertain=True)


def log_failure(what: str) -> Callable[[Future[T]], None]:
    """A callback for what nobody waits for: a failure goes to the log."""

    def look(future: Future[T]) -> None:
        error = future.exception()
        if error is not None:
            logger.warning("%s: %s", what, error)

    return look


def for_line(plan: MotionPlan) -> LineMotionPlan:
    """The supervisor's plan as the driver's; both compute the digest by themselves."""
    padding = (0,) * (AXES_ON_LINE - len(plan.start))
    return LineMotionPlan(
        proposal=bytes.fromhex(plan.proposal),
        limits=bytes.fromhex(plan.limits),
        ttl_ms=plan.ttl_ms,
        speed_ppm=plan.speed_ppm,
        axis_count=len(plan.start),
        start=plan.start + padding,
        start_tolerance_linear_um=plan.start_tolerance_linear_um,
        start_tolerance_rotary_udeg=plan.start_tolerance_rotary_udeg,
        waypoints=tuple(point + padding for point in plan.waypoints),
    )
