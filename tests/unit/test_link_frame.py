"""Frames and messages: what the codec promises beyond the shared vectors."""

from __future__ import annotations

import pytest

from igrt_hw.link import messages as m
from igrt_hw.link.dictionary import DictionaryError, parse_dictionary
from igrt_hw.link.frame import (
    ENCODED_LEN_MAX,
    Direction,
    Drop,
    Frame,
    FrameReader,
    Header,
    encode_frame,
)

ECHO = Header(1, m.Echo.TYPE, 0, 5, 1, 0, 0, 0, 1, 0, 0)
OCTETS = encode_frame(ECHO, b"payload", Direction.HOST_TO_DEVICE)


def reader(device: int | None = None) -> FrameReader:
    return FrameReader(Direction.HOST_TO_DEVICE, device)


def test_frames_come_out_whatever_the_pieces_they_arrive_in() -> None:
    stream = OCTETS * 3
    for size in range(1, len(stream)):
        r = reader()
        found = [
            item for at in range(0, len(stream), size) for item in r.feed(stream[at : at + size])
        ]
        assert len(found) == 3
        assert all(isinstance(item, Frame) for item in found)


def test_noise_before_a_frame_ends_at_its_leading_zero() -> None:
    drop, frame = reader().feed(b"\x91\x02noise" + OCTETS)
    assert isinstance(drop, Drop)
    assert isinstance(frame, Frame)


def test_an_endless_run_is_discarded_once_and_the_next_frame_is_heard() -> None:
    r = reader()
    found = list(r.feed(b"\x55" * (ENCODED_LEN_MAX + 1)))
    for _ in range(20):
        found += r.feed(b"\x55" * 1000)
    found += r.feed(OCTETS)
    assert found[0] is Drop.OVERLONG
    assert isinstance(found[1], Frame)
    assert len(found) == 2


def test_a_frame_for_another_kind_of_device_is_dropped_by_a_device() -> None:
    assert isinstance(next(iter(reader(device=1).feed(OCTETS))), Frame)
    assert list(reader(device=2).feed(OCTETS)) == [Drop.DEVICE]


def test_an_array_of_the_wrong_length_is_refused_by_name() -> None:
    plan = m.PlanUpload(bytes(32), bytes(8), 1, 1, 6, 1, (0,) * 5, 1, 1, ((0,) * 6,))
    with pytest.raises(m.MessageError, match=r"PLAN_UPLOAD\.start: 5 items, must be 6"):
        plan.pack()


def test_raw_octets_of_the_wrong_length_are_refused_not_padded() -> None:
    with pytest.raises(m.MessageError, match=r"EXECUTE\.token: 3 items, must be 16"):
        m.Execute(bytes(32), 1, b"abc").pack()


def test_a_number_that_does_not_fit_its_field_is_refused() -> None:
    with pytest.raises(m.MessageError, match="JOG"):
        m.Jog(0, 0, 0, 1 << 31).pack()


def test_a_count_that_disagrees_with_the_items_is_refused() -> None:
    plan = m.PlanUpload(bytes(32), bytes(8), 1, 1, 6, 2, (0,) * 6, 1, 1, ((0,) * 6,))
    with pytest.raises(m.MessageError, match="waypoint_count is 2 but there are 1"):
        plan.pack()


def test_a_body_longer_than_the_limit_is_refused() -> None:
    with pytest.raises(m.MessageError, match="4125"):
        m.Echo(bytes(4125)).pack()


@pytest.mark.parametrize(
    "line",
    ["H 01 stop nonce:u32", "H 1 STOP", "X 01 STOP", "H 01 STOP a:u33", "H 01 STOP a:tail b:u8"],
)
def test_a_dictionary_that_breaks_its_grammar_is_refused(line: str) -> None:
    with pytest.raises(DictionaryError):
        parse_dictionary(f"clp 1.0\n{line}\n")
