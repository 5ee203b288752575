"""STOP reaches what runs on this side: a registration is given up in the middle of its search, and finds nothing."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from room_rig import MODEL, ORIGIN, treatment_plan

from igrt_hw import _core
from igrt_hw.records.store import RecordStore
from igrt_hw.safety import effects as fx
from igrt_hw.safety import events as ev
from igrt_hw.safety.memory import Pending
from igrt_hw.safety.rules import SupervisorConfig
from igrt_hw.safety.supervisor import Supervisor
from igrt_hw.server import registering, service
from igrt_hw.server.service import Parts, Service


class Stoppable:
    """A device that takes STOP and nothing else."""

    def __init__(self) -> None:
        self.stops = 0

    def stop(self, times: int) -> Future[None]:
        self.stops += 1
        done: Future[None] = Future()
        done.set_result(None)
        return done


@pytest.fixture
def room(tmp_path: Path) -> Service:
    plan = treatment_plan()
    loaded = SimpleNamespace(plan=plan)
    patient = SimpleNamespace(frame_of_reference_uid="f")
    prepared = SimpleNamespace(loaded=loaded, patient=patient, phantom=None)
    devices: Any = {name: Stoppable() for name in ("couch", "imager", "pendant")}
    return Service(
        Parts(
            supervisor=Supervisor(
                SupervisorConfig(machine="m", software_version="0"),
                MODEL,
                draw=lambda n: 0,
                utc_origin=ORIGIN,
            ),
            history=None,  # type: ignore[arg-type]
            taker=None,  # type: ignore[arg-type]
            checker=SimpleNamespace(surfaces={}),  # type: ignore[arg-type]
            record=RecordStore(tmp_path / "record.sqlite"),
            record_path=tmp_path / "record.sqlite",
            machine=SimpleNamespace(couch=lambda: None),  # type: ignore[arg-type]
            plans={plan.plan_uid: prepared},  # type: ignore[dict-item]
            simulator=True,
            clock_us=lambda: time.monotonic_ns() // 1000,
            **devices,
        )
    )


EFFECT = fx.RegisterImages(1, (), "1.2.3.plan", "ISO1", (0.0,) * 6, False)


# safety: SR-44
async def test_stop_ends_a_registration_in_the_middle_of_its_search(
    room: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, ended = threading.Event(), threading.Event()

    def search(*_: object, cancel: _core.CancelFlag, **__: object) -> None:
        begun.set()
        while not cancel.cancelled:
            time.sleep(0.001)
        ended.set()
        raise _core.RegistrationCancelled("cancelled")

    monkeypatch.setattr(service, "register_pair", search)
    monkeypatch.setattr(service, "by_markers", lambda *_: False)
    room._loop = asyncio.get_running_loop()
    room._register(EFFECT)
    assert await asyncio.to_thread(begun.wait, 10.0)
    assert not ended.is_set()
    room._carry_out_stop("operator")
    assert await asyncio.to_thread(ended.wait, 10.0)
    while room._pulled:
        await asyncio.sleep(0.001)
    assert room._shelf.registered is None
    assert room._parts.couch.stops == 1  # type: ignore[union-attr]


# safety: SR-44
async def test_a_registration_after_a_stop_is_not_stopped_by_it(
    room: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    done = threading.Event()

    def search(*_: object, cancel: _core.CancelFlag, **__: object) -> None:
        asked.append(cancel.cancelled)
        done.set()
        raise _core.RegistrationCancelled("no images")

    monkeypatch.setattr(service, "register_pair", search)
    monkeypatch.setattr(service, "by_markers", lambda *_: False)
    room._loop = asyncio.get_running_loop()
    room._carry_out_stop("operator")
    room._register(EFFECT)
    assert await asyncio.to_thread(done.wait, 10.0)
    assert asked == [False]


# safety: SR-44
def test_the_flag_reaches_the_core(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, object] = {}

    def search(*_: object, **kept: object) -> None:
        given.update(kept)
        raise _core.RegistrationCancelled("cancelled")

    placed = SimpleNamespace(at=lambda *_: None, planned=None)
    monkeypatch.setattr(registering, "register", search)
    monkeypatch.setattr(registering.Placement, "of", lambda *_: placed)
    flag = _core.CancelFlag()
    plan: Any = SimpleNamespace(loaded=None, patient=None)
    couch: Any = None
    with pytest.raises(_core.RegistrationCancelled):
        registering.register_pair(
            plan, "ISO1", [], couch, (0.0,) * 6, translation_only=False, cancel=flag
        )
    assert given["cancel"] is flag


# safety: SR-44
async def test_what_was_found_while_stop_came_is_shown_nowhere(
    room: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that cannot be interrupted ends after the STOP, or has just ended: nobody waits for it any more."""
    go, told = threading.Event(), asyncio.Event()

    def search(*_: object, **__: object) -> Any:
        go.wait(10.0)
        return SimpleNamespace(fixed_from_patient=None, summary=lambda: None)

    monkeypatch.setattr(service, "register_markers", search)
    monkeypatch.setattr(service, "by_markers", lambda *_: True)
    room._loop = asyncio.get_running_loop()
    feed = room._feed

    def fed(event: ev.Event, at_us: int | None = None) -> None:
        feed(event, at_us)
        told.set()

    monkeypatch.setattr(room, "_feed", fed)
    memory = room._supervisor.memory
    memory.pending[1] = Pending(1, "registration", "", 1 << 62, "anna")
    room._register(EFFECT)
    memory.pending.clear()  # as the supervisor does on STOP and when a patient is closed
    go.set()
    await asyncio.wait_for(told.wait(), 10.0)
    assert room._shelf.registered is None
    assert room._shelf.registered_axes == ()
    room._until_written()
    dropped = [e for e in room._parts.record.read(0) if e.kind == "late answer"]
    assert len(dropped) == 1


# safety: SR-44
async def test_what_is_waited_for_is_kept(room: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    told = asyncio.Event()
    found = SimpleNamespace(fixed_from_patient=None, summary=lambda: None)
    monkeypatch.setattr(service, "register_markers", lambda *_, **__: found)
    monkeypatch.setattr(service, "by_markers", lambda *_: True)
    room._loop = asyncio.get_running_loop()
    monkeypatch.setattr(room, "_feed", lambda event, at_us=None: told.set())
    room._supervisor.memory.pending[1] = Pending(1, "registration", "", 1 << 62, "anna")
    room._register(EFFECT)
    await asyncio.wait_for(told.wait(), 10.0)
    assert room._shelf.registered is found


# safety: SR-44
@pytest.mark.parametrize("looked_at_before", [0, 1])
def test_stop_ends_a_search_for_markers_between_its_views(
    monkeypatch: pytest.MonkeyPatch, looked_at_before: int
) -> None:
    flag, looked = _core.CancelFlag(), []

    def find(*_: object, **__: object) -> None:
        looked.append(1)
        flag.cancel()

    if looked_at_before == 0:
        flag.cancel()
    monkeypatch.setattr(registering, "find_fiducials", find)
    placed = SimpleNamespace(at=lambda *_: None, planned=None)
    monkeypatch.setattr(registering.Placement, "of", lambda *_: placed)
    image: Any = SimpleNamespace(
        line_integrals=None, geometry=None, region=None, geometry_covariance=None
    )
    plan: Any = SimpleNamespace(loaded=SimpleNamespace(plan=SimpleNamespace(markers=())))
    couch: Any = None
    with pytest.raises(_core.RegistrationCancelled):
        registering.register_markers(plan, "ISO1", [image, image], couch, (0.0,) * 6, cancel=flag)
    assert len(looked) == looked_at_before


# safety: SR-44
async def test_a_registration_that_was_stopped_in_the_queue_does_not_begin(
    room: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []
    free = threading.Event()
    for _ in range(service.WORKERS):
        room._pool.submit(free.wait, 10.0)
    monkeypatch.setattr(service, "register_pair", lambda *_, **__: begun.append(1))
    monkeypatch.setattr(service, "by_markers", lambda *_: False)
    room._loop = asyncio.get_running_loop()
    room._register(EFFECT)
    room._carry_out_stop("operator")
    free.set()
    while room._pulled:
        await asyncio.sleep(0.001)
    assert begun == []
