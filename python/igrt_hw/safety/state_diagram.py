"""The state diagram of the documentation, drawn from the table that runs.

python -m igrt_hw.safety.state_diagram docs/safety/state_machine.md
"""

from __future__ import annotations

import sys
from pathlib import Path

from igrt_hw.models.status import LoopState
from igrt_hw.safety.transitions import NEEDED_NEXT, TABLE, Guard, Transition


def markdown() -> str:
    """The whole document: the diagram, the table, and what is needed next in each state."""
    lines = [
        "# The supervisor's state machine",
        "",
        "Generated from `igrt_hw.safety.transitions` by `python -m igrt_hw.safety.state_diagram`; do not edit.",
        "Into FAULT, and by STOP, one comes from almost anywhere; the diagram leaves these out, the table has them.",
        "",
        "```mermaid",
        *_diagram(),
        "```",
        "",
        "## Transitions",
        "",
        "| from | trigger | guard | to | meaning |",
        "| --- | --- | --- | --- | --- |",
        *(_table_row(row) for row in TABLE),
        "",
        "## Needed next",
        "",
        "| state | what the operator does |",
        "| --- | --- |",
        *(f"| {state} | {NEEDED_NEXT[state]} |" for state in LoopState),
        "",
    ]
    return "\n".join(lines)


def _diagram() -> list[str]:
    lines = ["stateDiagram-v2", "    [*] --> IDLE"]
    for row in TABLE:
        if row.target is None or row.trigger.value in ("stop", "fault", "close patient"):
            continue
        lines += [f"    {source} --> {row.target}: {row.trigger.value}" for source in row.source]
    return lines


def _table_row(row: Transition) -> str:
    source = ", ".join(row.source)
    guard = "" if row.guard is Guard.ALWAYS else row.guard.value
    return (
        f"| {source} | {row.trigger.value} | {guard} | {row.target or '(stays)'} | {row.sentence} |"
    )


def main(arguments: list[str]) -> int:
    """Write the document to the path given."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m igrt_hw.safety.state_diagram OUTPUT.md\n")
        return 2
    Path(arguments[0]).write_text(markdown(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
