"""`igrt doctor`: is this installation fit to run? Each question is asked; none stops the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import typer


@dataclass(frozen=True, slots=True)
class Question:
    """One question; `ask` returns what it found, and raises with what is wrong."""

    name: str
    ask: Callable[[], str]
    needed: bool


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(doctor)


def doctor() -> None:
    """Check this installation: core, golden vectors, machines, demo plan, simulator, terminal, store."""
    bad = False
    for question in QUESTIONS:
        try:
            typer.echo(f"ok       {question.name}: {question.ask()}")
        except Exception as error:
            bad = bad or question.needed
            word = "PROBLEM" if question.needed else "missing"
            typer.echo(f"{word:<8} {question.name}: {error}")
    if bad:
        raise typer.Exit(1)


def _core() -> str:
    from igrt_hw import _core

    return str(_core.__file__).rpartition("/")[2]


def _golden() -> str:
    from igrt_hw.geometry import check_golden_vectors

    return f"{check_golden_vectors()} agree"


def _machines() -> str:
    from igrt_hw.machine import load_machine, machine_names

    return ", ".join(load_machine(name).name for name in machine_names())


def _plan() -> str:
    from igrt_hw.guidance.plan import load_plan
    from igrt_hw.server.settings import DEMO_PLAN

    plan = load_plan(DEMO_PLAN).plan
    return f"{plan.plan_label}, {plan.ct_slices} slices"


def _dictionary() -> str:
    from igrt_hw.link.dictionary import HASH

    return HASH.hex()


def _command(name: str) -> Callable[[], str]:
    def ask() -> str:
        from igrt_hw.demo.processes import command_path

        return command_path(name).name

    return ask


def _record() -> str:
    from igrt_hw.commands.audit import RECORD_FILE
    from igrt_hw.commands.places import default_store
    from igrt_hw.records import RecordStore

    file = default_store() / RECORD_FILE
    if not file.exists():
        return "none yet"
    with RecordStore(file, read_only=True) as record:
        problem = record.verify()
        if problem is not None:
            raise ValueError(f"does not verify: entry {problem.sequence}: {problem.sentence}")
        return f"verifies, {record.entries} entries"


QUESTIONS = (
    Question("core", _core, True),
    Question("golden vectors", _golden, True),
    Question("machines", _machines, True),
    Question("demo plan", _plan, True),
    Question("protocol dictionary", _dictionary, True),
    Question("record", _record, True),
    Question("simulator (igrt-sim)", _command("igrt-sim"), False),
    Question("terminal (igrt-tui)", _command("igrt-tui"), False),
)
