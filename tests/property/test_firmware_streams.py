"""No stream of octets makes the firmware panic, and none stands in for the enable or the session.

Two strangers speak to the couch. One knows the protocol and not the session, while a hand holds the
enable: whatever he sends, nothing moves. The other knows everything (session, numbers, epoch, clock),
while nobody holds the enable: whatever he commands, nothing moves and no brake lets go.
"""

from __future__ import annotations

from firmware_bench import FirmwareBench
from hypothesis import given, settings
from hypothesis import strategies as st

from igrt_hw.link import messages as m
from igrt_hw.link.frame import Direction, Header, encode_frame
from igrt_hw.link.session import SessionState
from igrt_hw.models.telemetry import CouchState

HOST_TYPES = sorted(
    kind for kind, cls in m.BY_TYPE.items() if cls.SPEC.direction == Direction.HOST_TO_DEVICE.value
)
# A campaign takes the number of its profile (tests/conftest.py).
CAMPAIGN = settings.get_current_profile_name() == "campaign"
EXAMPLES = settings.get_profile("campaign").max_examples if CAMPAIGN else 25

DRIVEN = (CouchState.MOVING, CouchState.STOPPING, CouchState.JOGGING, CouchState.HOMING)

u16, u32 = st.integers(0, 0xFFFF), st.integers(0, 0xFFFF_FFFF)


@st.composite
def bodies(draw: st.DrawFn, kind: int) -> bytes:
    """A body that fits its message, with values that are often borders."""
    codec = m.BY_TYPE[kind].CODEC
    octets = st.one_of(st.sampled_from([0, 1, 2, 3, 0x7F, 0x80, 0xFF]), st.integers(0, 255))
    size = codec.head_len + (draw(st.integers(0, 40)) if codec.spec.tail else 0)
    if kind == m.PlanUpload.TYPE:
        size += 24 * draw(st.integers(0, 8))
    return bytes(draw(st.lists(octets, min_size=size, max_size=size)))


@st.composite
def strangers(draw: st.DrawFn) -> bytes:
    """What somebody sends who knows the protocol: frames, broken frames, noise."""
    if draw(st.integers(0, 4)) == 0:
        return draw(st.binary(max_size=120))
    kind = draw(st.sampled_from(HOST_TYPES))
    header = Header(
        1, kind, 0, draw(u32), draw(u16), draw(u16), draw(u16), draw(st.integers(0, 3)),
        draw(st.sampled_from([1, 1, 1, 2, 3, 0])), draw(u32), draw(u32),
    )  # fmt: skip
    wire = encode_frame(header, draw(bodies(kind)), Direction.HOST_TO_DEVICE)
    cut = draw(st.integers(0, 9))
    return wire[: len(wire) // 2] if cut == 0 else wire


class Watched:
    """A couch whose hands are held in one position, and looked at in every millisecond."""

    def __init__(self, seed: int, position: str) -> None:
        self.bench = FirmwareBench(seed)
        self.bench.open()
        self.bench.room.set_enable(position)
        self.bench.run(20)

    def rests(self) -> None:
        truth = self.bench.room.truth()
        assert truth["couch_state"] not in DRIVEN
        assert truth["brakes_engaged"]
        assert max(map(abs, truth["speeds"])) == 0.0


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    seed=st.integers(0, 1 << 20),
    stream=st.lists(strangers(), max_size=30),
    piece=st.integers(8, 64),
    breaks=st.booleans(),
)
def test_nobody_without_the_session_moves_a_couch_whose_enable_is_held(
    seed: int, stream: list[bytes], piece: int, breaks: bool
) -> None:
    watched = Watched(seed, "enabled")
    room = watched.bench.room
    octets = b"".join(stream)
    for at in range(0, len(octets), piece):
        room.write("couch", octets[at : at + piece])
        watched.bench.run(1)
        watched.rests()
    if breaks:
        room.line_break("couch")
    watched.bench.run(300)
    watched.rests()
    # the device is none the worse for it
    watched.bench.new_session()
    watched.bench.run(100)
    assert watched.bench.session.state is SessionState.OPEN


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    data=st.data(), seed=st.integers(0, 1 << 20), position=st.sampled_from(["released", "squeezed"])
)
def test_nobody_moves_a_couch_whose_enable_is_not_held_whatever_he_knows(
    data: st.DataObject, seed: int, position: str
) -> None:
    watched = Watched(seed, position)
    bench = watched.bench
    plan = bench.plan((10.0, 0.0, 5.0, 0.0, 0.0, 0.0))
    nonce = 0
    for step in range(data.draw(st.integers(1, 12))):
        bench.permit(400)
        kind = data.draw(st.sampled_from(HOST_TYPES))
        if kind in (m.Stop.TYPE, m.Hello.TYPE, m.Lease.TYPE):
            continue  # those the session itself sends
        message: m.Message
        if kind == m.PlanUpload.TYPE and data.draw(st.booleans()):
            message = plan.message()
        elif kind == m.Execute.TYPE and data.draw(st.booleans()):
            message = m.Execute(plan.plan_digest(), nonce, bytes(16))
        else:
            message = m.BY_TYPE[kind].CODEC.unpack(_fitting(data, kind))
        bench.submit(message, step)
        for _ in range(data.draw(st.integers(1, 60))):
            bench.run(1)
            watched.rests()
        reply = bench.outcomes.get(step)
        if isinstance(reply, m.PlanReply):
            nonce = reply.plan_nonce
        assert not isinstance(reply, m.JogReply | m.HomeReply)


def _fitting(data: st.DataObject, kind: int) -> bytes:
    codec = m.BY_TYPE[kind].CODEC
    if kind == m.PlanUpload.TYPE:
        return bytes(codec.head_len)  # no waypoints
    return data.draw(bodies(kind)) if codec.head_len or codec.spec.tail else b""
