"""Numbers, directions and tables: what is read is right, whole, and reads back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igrt_tui.view_model import numbers
from igrt_tui.view_model.directions import shift_direction
from igrt_tui.view_model.text import Column, plain, table


@given(st.floats(-2000, 2000), st.sampled_from(["mm", "deg"]))
def test_what_is_shown_reads_back_to_the_shown_precision(value: float, unit: str) -> None:
    back, back_unit = numbers.read_back(numbers.signed(value, unit))
    assert back_unit == unit
    assert back == pytest.approx(value, abs=0.0501)


@given(st.floats(-2000, 2000))
def test_a_shown_number_always_has_a_sign_unless_it_is_zero(value: float) -> None:
    text = numbers.signed_number(value)
    assert text[0] in "+-" or float(text) == 0
    assert not text.startswith("-0.0")


@given(st.floats(-999, 999))
def test_what_is_shown_is_accepted_as_typed(value: float) -> None:
    text = numbers.signed_number(value)
    assert numbers.typed_number(text) == pytest.approx(float(text))


@pytest.mark.parametrize(
    "text", ["3.2", "", "+", "- 3", "+3,2", "++1", "1e3", "+3.2mm", "nan", "+12345.0"]
)
def test_a_number_without_its_sign_or_with_anything_else_is_no_number(text: str) -> None:
    assert numbers.typed_number(text) is None


def test_a_number_without_a_known_unit_does_not_read_back() -> None:
    with pytest.raises(ValueError, match="no known unit"):
        numbers.read_back("+3.2 cm")


@pytest.mark.parametrize(
    ("milliseconds", "words"),
    [
        (None, "never heard"),
        (-1, "clock went back"),
        (18, "18 ms"),
        (1500, "1.5 s"),
        (125_000, "2 min 05 s"),
    ],
)
def test_ages_are_short_and_cannot_be_misread(milliseconds: float | None, words: str) -> None:
    assert numbers.age(milliseconds) == words


def test_a_countdown_that_has_run_out_says_so() -> None:
    assert numbers.countdown(0) == "over"
    assert numbers.countdown(-3) == "over"
    assert numbers.countdown(61.9) == "1:01"


@given(st.lists(st.floats(0.1, 500), min_size=1, max_size=200), st.integers(1, 80))
def test_a_strip_never_hides_the_least_clearance(profile: list[float], width: int) -> None:
    drawn = numbers.strip(tuple(profile), width)
    assert len(drawn) == width
    narrowest = min(range(len(profile)), key=lambda index: profile[index])
    if len(profile) >= width:
        column = next(
            c
            for c in range(width)
            if c * len(profile) // width
            <= narrowest
            < max((c + 1) * len(profile) // width, c * len(profile) // width + 1)
        )
        assert drawn[column] == min(drawn)


@pytest.mark.parametrize(
    ("axis", "value", "position", "room", "patient"),
    [
        ("lateral", 5.2, "HFS", "to the right (facing gantry)", "to patient's left"),
        ("lateral", 5.2, "HFP", "to the right (facing gantry)", "to patient's right"),
        ("lateral", -5.2, "FFS", "to the left (facing gantry)", "to patient's left"),
        ("longitudinal", 3.0, "HFS", "towards the gantry", "to patient's head"),
        ("longitudinal", 3.0, "FFS", "towards the gantry", "to patient's feet"),
        ("vertical", -4.0, "HFS", "down", "to patient's back"),
        ("vertical", -4.0, "HFP", "down", "to patient's front"),
        ("pitch", 1.0, "HFS", "gantry end up", "head up"),
        ("roll", 1.0, "HFS", "right side (facing gantry) down", "left side down"),
    ],
)
def test_directions_name_the_room_and_the_patient(
    axis: str, value: float, position: str, room: str, patient: str
) -> None:
    direction = shift_direction(axis, value, position, 0.0)
    assert (direction.room, direction.patient) == (room, patient)


def test_a_number_shown_as_zero_has_no_direction() -> None:
    assert shift_direction("lateral", 0.0, "HFS", 0.0).room == "no motion"


@pytest.mark.parametrize("rotation", [90.0, -45.0, 180.0])
def test_no_side_of_the_patient_is_guessed_when_the_couch_is_turned(rotation: float) -> None:
    assert "not named" in shift_direction("lateral", 3.0, "HFS", rotation).patient


def test_no_side_of_the_patient_is_guessed_for_an_unknown_position() -> None:
    assert "unknown" in shift_direction("lateral", 3.0, "SITTING", 0.0).patient


@given(st.lists(st.text("abc def", min_size=1, max_size=60), min_size=1, max_size=4))
def test_a_table_never_loses_a_letter(cells: list[str]) -> None:
    columns = [Column("", 7) for _ in cells]
    text = "".join(plain(line) for line in table(columns, [cells], head=False))
    for letter in "abcdef":
        assert text.count(letter) == sum(cell.count(letter) for cell in cells)
