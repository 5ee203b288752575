"""The live stream of the client against a real server on the loopback, and the hand against a real socket."""

import asyncio
import json
import socket
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime

import argon2
import pytest
import uvicorn
from idle_service import idle_status
from sqlalchemy import create_engine
from websockets.asyncio.client import connect

from igrt_hw.client import (
    AsyncClient,
    BlockingHand,
    Client,
    Endpoints,
    NotSignedInError,
    ServiceUnreachableError,
    SimulatedHand,
    SimulatorRefusedError,
    SimulatorUnreachableError,
)
from igrt_hw.models.status import LoopState
from igrt_hw.models.users import ChainVerdict, Role
from igrt_hw.server.app import CLOSE_NOT_PERMITTED, CLOSE_NOT_UNDERSTOOD, Door, create_app
from igrt_hw.server.users import UserStore

PASSWORD = "long enough 1"
CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


class Counting:
    """Counts statuses and notes what terminals do."""

    simulator = True

    def __init__(self):
        self.version = 0
        self.terminals = []

    def status(self):
        return idle_status(self.version)

    def status_json(self):
        self.version += 1
        return idle_status(self.version).model_dump_json()

    def plans(self):
        return ()

    def terminal_alive(self, terminal_id, session, heard_us):
        self.terminals.append(("alive", terminal_id, session.user.username))

    def terminal_gone(self, terminal_id):
        self.terminals.append(("gone", terminal_id))

    async def verify_record(self):
        return ChainVerdict(ok=True, entries=0, problem="")

    def note(self, kind, actor, text, data):
        pass


class Bench:
    def __init__(self, tmp_path):
        self.now_us = 0
        users = UserStore(
            create_engine(f"sqlite:///{tmp_path / 'users.sqlite'}"), demo_users=False, hasher=CHEAP
        )
        for role in Role:
            users.add(role.value, role.value.title(), role, PASSWORD)
        self.service = Counting()
        self.door = Door(
            self.service, users, lambda: self.now_us, lambda: datetime(2026, 1, 1, 12, tzinfo=UTC)
        )
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    @asynccontextmanager
    async def serving(self):
        server = uvicorn.Server(
            uvicorn.Config(create_app(self.door), log_level="error", timeout_graceful_shutdown=1)
        )
        task = asyncio.create_task(server.serve(sockets=[self.listener.dup()]))
        while not server.started:
            await asyncio.sleep(0.01)
        try:
            yield
        finally:
            server.should_exit = True
            await task

    @asynccontextmanager
    async def client(self, role=Role.THERAPIST):
        async with AsyncClient(self.url) as client:
            await client.login(role.value, PASSWORD)
            yield client


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


async def first(updates, wanted):
    async with asyncio.timeout(20):
        async for update in updates:
            if wanted(update):
                return update
    raise AssertionError("the stream ended")


async def test_the_stream_brings_new_statuses(bench):
    async with bench.serving(), bench.client() as client, aclosing(client.stream()) as updates:
        one = await first(updates, lambda u: u.status is not None)
        two = await first(updates, lambda u: u.status.version > one.status.version)
    assert two.connected
    assert not two.stale
    assert bench.service.terminals == []


async def test_a_stream_with_a_terminal_keeps_its_lease_and_ends_it(bench):
    async with bench.serving(), bench.client() as client:
        async with aclosing(client.stream("console-1")) as updates:
            await first(updates, lambda u: len(bench.service.terminals) >= 3)
        async with asyncio.timeout(20):
            while bench.service.terminals[-1] != ("gone", "console-1"):
                await asyncio.sleep(0.01)
    assert set(bench.service.terminals[:-1]) == {("alive", "console-1", "therapist")}


async def test_a_screen_that_is_not_alive_sends_no_lease(bench):
    async with (
        bench.serving(),
        bench.client() as client,
        aclosing(client.stream("console-1", alive=lambda: False)) as updates,
    ):
        one = await first(updates, lambda u: u.status is not None)
        await first(updates, lambda u: u.status.version > one.status.version + 8)
    assert bench.service.terminals == []


async def test_a_lost_service_is_told_with_the_old_status_and_comes_back(bench):
    async with bench.serving(), bench.client() as client:
        updates = client.stream()
        await first(updates, lambda u: u.status is not None)
    lost = await first(updates, lambda u: not u.connected)
    assert lost.cause
    stale = await first(updates, lambda u: u.stale)
    assert stale.status is not None
    assert stale.age_ms > 250
    async with bench.serving():
        back = await first(updates, lambda u: u.connected and not u.stale)
        assert back.cause == ""
        await updates.aclose()


async def test_the_end_of_the_session_ends_the_stream(bench):
    async with bench.serving(), bench.client() as client, aclosing(client.stream()) as updates:
        await first(updates, lambda u: u.status is not None)
        bench.door.sessions.close(bench.door.sessions.look(client.signed_in.token, 0))
        with pytest.raises(NotSignedInError):
            await first(updates, lambda u: False)


async def test_a_physician_may_watch_but_not_hold_a_lease(bench):
    async with bench.serving(), bench.client(Role.PHYSICIAN) as client:
        headers = {"Authorization": f"Bearer {client.signed_in.token}"}
        address = bench.url.replace("http", "ws") + "/api/stream"
        async with connect(address, additional_headers=headers) as stream:
            assert json.loads(await stream.recv())["type"] == "status"
            await stream.send('{"type": "alive", "terminal_id": "console-1"}')
            while True:
                try:
                    await stream.recv()
                except Exception:
                    break
        assert stream.close_code == CLOSE_NOT_PERMITTED
    assert bench.service.terminals == []


@pytest.mark.parametrize(
    "message",
    ["", "{}", '{"type": "alive"}', '{"type": "dead", "terminal_id": "a"}', "x" * 2000, "[1]"],
)
async def test_what_is_not_a_lease_closes_the_stream(bench, message):
    async with bench.serving(), bench.client() as client:
        headers = {"Authorization": f"Bearer {client.signed_in.token}"}
        address = bench.url.replace("http", "ws") + "/api/stream"
        async with connect(address, additional_headers=headers) as stream:
            await stream.send(message)
            while True:
                try:
                    await stream.recv()
                except Exception:
                    break
        assert stream.close_code == CLOSE_NOT_UNDERSTOOD
    assert bench.service.terminals == []


async def test_one_connection_cannot_hold_the_lease_of_two_terminals(bench):
    async with bench.serving(), bench.client() as client:
        headers = {"Authorization": f"Bearer {client.signed_in.token}"}
        address = bench.url.replace("http", "ws") + "/api/stream"
        async with connect(address, additional_headers=headers) as stream:
            await stream.send('{"type": "alive", "terminal_id": "a"}')
            await stream.send('{"type": "alive", "terminal_id": "b"}')
            while True:
                try:
                    await stream.recv()
                except Exception:
                    break
        assert stream.close_code == CLOSE_NOT_UNDERSTOOD
    names = {entry[1] for entry in bench.service.terminals}
    assert names == {"a"}


async def test_the_blocking_client_speaks_the_same_calls(bench):
    async with bench.serving():

        def work():
            with Client(bench.url) as client:
                client.login("therapist", PASSWORD)
                assert client.status().state is LoopState.IDLE
                assert client.plans() == []
                assert client.verify_record().ok
                client.logout()
                with pytest.raises(NotSignedInError):
                    client.status()

        await asyncio.to_thread(work)


def test_nobody_at_home_is_a_sentence():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with (
        Client(f"http://127.0.0.1:{port}") as client,
        pytest.raises(ServiceUnreachableError, match="igrt serve"),
    ):
        client.health()


@asynccontextmanager
async def simulator(tmp_path, answer):
    path = tmp_path / "control.sock"
    asked = []

    async def converse(reader, writer):
        while line := await reader.readline():
            question = json.loads(line)
            asked.append(question)
            writer.write(json.dumps({"id": question["id"], **answer(question)}).encode() + b"\n")
            await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(converse, path)
    try:
        yield path, asked
    finally:
        server.close()


async def test_the_hand_says_what_the_control_socket_understands(tmp_path):
    async with (
        simulator(tmp_path, lambda q: {"ok": True, "op": q["op"]}) as (path, asked),
        SimulatedHand(path) as hand,
    ):
        await hand.enable("enabled", for_ms=300)
        await hand.enable("released")
        await hand.estop(True)
        await hand.door(False)
        await hand.truth()
    assert [{k: v for k, v in q.items() if k != "id"} for q in asked] == [
        {"op": "hand.enable", "position": "enabled", "for_ms": 300},
        {"op": "hand.enable", "position": "released"},
        {"op": "hand.estop", "pressed": True},
        {"op": "hand.door", "closed": False},
        {"op": "truth"},
    ]
    assert [q["id"] for q in asked] == [1, 2, 3, 4, 5]


async def test_a_refusal_of_the_simulator_is_its_own_sentence(tmp_path):
    async with (
        simulator(tmp_path, lambda q: {"ok": False, "error": "no such fault"}) as (path, _),
        SimulatedHand(path) as hand,
    ):
        with pytest.raises(SimulatorRefusedError, match="no such fault"):
            await hand.ask("fault.inject", target="couch", kind="gremlin")


async def test_an_answer_to_another_question_is_not_taken(tmp_path):
    async with (
        simulator(tmp_path, lambda q: {"id": 99, "ok": True}) as (path, _),
        SimulatedHand(path) as hand,
    ):
        with pytest.raises(SimulatorUnreachableError, match="another question"):
            await hand.truth()


async def test_the_blocking_hand_speaks_the_same(tmp_path):
    async with simulator(tmp_path, lambda q: {"ok": True, "seen": q["op"]}) as (path, _):

        def work():
            with BlockingHand(path) as hand:
                hand.enable("squeezed")
                return hand.truth()

        assert (await asyncio.to_thread(work))["seen"] == "truth"


def test_no_simulator_is_a_sentence(tmp_path):
    with (
        BlockingHand(tmp_path / "nothing.sock") as hand,
        pytest.raises(SimulatorUnreachableError, match="nobody answers"),
    ):
        hand.truth()
    with pytest.raises(SimulatorUnreachableError, match="is the simulator running"):
        Endpoints.read(tmp_path / "endpoints.json")


async def test_a_stream_that_is_left_while_news_comes_ends(bench):
    """Left at the very instant of a news, again and again: the watcher must end every time."""
    async with bench.serving(), bench.client() as client:
        for number in range(30):
            seen = asyncio.Event()

            async def watch(seen=seen):
                async with aclosing(client.stream("console-1")) as updates:
                    async for update in updates:
                        if update.status is not None:
                            seen.set()

            watching = asyncio.create_task(watch())
            async with asyncio.timeout(20):
                await seen.wait()
                await asyncio.sleep(number * 0.003)
                watching.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await watching
