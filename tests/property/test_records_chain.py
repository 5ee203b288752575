"""Whatever is done to a record afterwards, the chain shows it."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from igrt_hw.models.record import RecordEntry
from igrt_hw.records.chain import Head, follow, next_entry

TEXT = st.text(max_size=12)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
LINES = st.lists(
    st.tuples(TEXT, TEXT, TEXT, st.dictionaries(TEXT, VALUES, max_size=3)), min_size=2, max_size=8
)


def chain(lines: list[tuple[str, str, str, dict[str, object]]]) -> list[RecordEntry]:
    head, entries = Head(), []
    for index, (kind, actor, text, data) in enumerate(lines):
        entry = next_entry(
            head, kind=kind, actor=actor, text=text, data=data, at_us=index, at_utc="2026"
        )
        entries.append(entry)
        head = Head(entry.sequence, entry.digest)
    return entries


# safety: SR-24
@given(LINES)
def test_chain_holds_and_survives_json(
    lines: list[tuple[str, str, str, dict[str, object]]],
) -> None:
    entries = chain(lines)
    assert follow(entries) == (Head(len(entries), entries[-1].digest), None)
    again = [
        RecordEntry.model_validate_json(json.dumps(e.model_dump(mode="json"))) for e in entries
    ]
    assert follow(again)[1] is None


# safety: SR-24
@given(LINES, st.data())
def test_any_edit_gap_or_exchange_is_found_where_it_is(
    lines: list[tuple[str, str, str, dict[str, object]]], data: st.DataObject
) -> None:
    entries = chain(lines)
    at = data.draw(st.integers(0, len(entries) - 1), label="where")
    how = data.draw(
        st.sampled_from(["kind", "actor", "text", "at_us", "data", "gap", "exchange"]), label="how"
    )
    tampered = list(entries)
    match how:
        case "gap":
            if at == len(entries) - 1:
                return  # a cut-off tail is what the anchor is for
            del tampered[at]
        case "exchange":
            other = (at + 1) % len(entries)
            tampered[at], tampered[other] = tampered[other], tampered[at]
        case "at_us":
            tampered[at] = entries[at].model_copy(update={"at_us": entries[at].at_us + 1})
        case "data":
            tampered[at] = entries[at].model_copy(
                update={"data": {**entries[at].data, "more": 1, "x": "y"}}
            )
        case _:
            tampered[at] = entries[at].model_copy(update={how: getattr(entries[at], how) + "x"})
    _, problem = follow(tampered)
    assert problem is not None
