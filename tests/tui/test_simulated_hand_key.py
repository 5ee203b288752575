"""The key of the simulated hand: a held key holds, a key that went up lets go by itself."""

from igrt_tui import squeeze
from igrt_tui.squeeze import Squeeze


def test_a_repeating_key_holds_without_a_gap_and_renews_no_more_than_needed() -> None:
    hand, told, now = Squeeze(), 0, 0
    hand, tell = squeeze.key_seen(hand, now)
    told += tell
    now += 660_000
    while now < 5_000_000:
        assert hand.held(now)
        hand, tell = squeeze.key_seen(hand, now)
        told += tell
        now += 33_000
    assert told <= 5_000_000 // squeeze.RENEW_US


def test_a_key_that_went_up_lets_go_by_itself() -> None:
    hand, _ = squeeze.key_seen(Squeeze(), 0)
    assert hand.held(squeeze.HOLD_MS * 1000 - 1)
    assert not hand.held(squeeze.HOLD_MS * 1000)


def test_any_other_key_lets_go_at_once() -> None:
    hand, _ = squeeze.key_seen(Squeeze(), 0)
    hand, tell = squeeze.other_key(hand, 10_000)
    assert tell
    assert not hand.held(10_000)


def test_another_key_says_nothing_to_a_hand_that_holds_nothing() -> None:
    assert squeeze.other_key(Squeeze(), 10_000) == (Squeeze(), False)
