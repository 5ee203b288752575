"""What the screen can do, from the command line: sign in, look, ask, stop."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from igrt_hw.commands.places import state_folder

if TYPE_CHECKING:
    from igrt_hw.client import Client
    from igrt_hw.models.commands import CommandResult
    from igrt_hw.models.status import SupervisorStatus
    from igrt_hw.models.users import SignedIn

Url = Annotated[
    str, typer.Option("--url", envvar="IGRT_URL", help="Address of the supervisor's service.")
]
DEFAULT_URL = "http://127.0.0.1:8421"
CaFile = Annotated[
    Path | None,
    typer.Option(
        "--ca-file", envvar="IGRT_CA_FILE", help="Authority to trust for an https address."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class OperateError(Exception):
    """A command cannot be understood or was refused; the sentence says why."""


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(login)
    app.command()(logout)
    app.command()(status)
    app.command()(plans)
    app.command()(command)
    app.command()(stop)
    app.command("second-person")(second_person)


def _session_file(second: bool = False) -> Path:
    return state_folder() / ("second_person.json" if second else "session.json")


def signed_in_client(url: str, ca_file: Path | None, *, second: bool = False) -> Client:
    """A client with the session of `igrt login`, or of IGRT_TOKEN; raises `OperateError` without one.

    `second`: with that of `igrt second-person`, or of IGRT_SECOND_TOKEN.
    """
    from igrt_hw.client import Client
    from igrt_hw.models.users import Role, SignedIn

    client = Client(url, ca_file=ca_file)
    token = os.environ.get("IGRT_SECOND_TOKEN" if second else "IGRT_TOKEN")
    if token:
        anybody = SignedIn(
            token=token, username="", display_name="", role=Role.THERAPIST, expires_utc=""
        )
        client.use(anybody)
        return client
    try:
        kept = json.loads(_session_file(second).read_text())
    except (OSError, ValueError) as error:
        how = "no second person is signed in here; run `igrt second-person` first"
        raise OperateError(
            how if second else "nobody is signed in here; run `igrt login` first"
        ) from error
    if kept.get("url") != client.url:
        raise OperateError(
            f"the session of `igrt login` is for {kept.get('url')}, not {client.url}"
        )
    client.use(SignedIn.model_validate(kept["signed_in"]))
    return client


def login(
    username: Annotated[str, typer.Argument(help="User name.")],
    url: Url = DEFAULT_URL,
    ca_file: CaFile = None,
    password: Annotated[
        str, typer.Option(prompt=True, hide_input=True, envvar="IGRT_PASSWORD")
    ] = "",
) -> None:
    """Sign in; the session is kept in a file that only you can read."""
    from igrt_hw.client import Client

    with Client(url, ca_file=ca_file) as client:
        signed_in = client.login(username, password)
        _keep(client.url, signed_in, _session_file())


def second_person(
    username: Annotated[str, typer.Argument(help="User name of the second person.")],
    url: Url = DEFAULT_URL,
    ca_file: CaFile = None,
    password: Annotated[
        str, typer.Option(prompt=True, hide_input=True, envvar="IGRT_SECOND_PASSWORD")
    ] = "",
) -> None:
    """Sign in a second person beside the first, for `igrt command --second`: the second approval, the second word."""
    with (
        signed_in_client(url, ca_file) as client,
        client.second_person(username, password) as other,
    ):
        if other.signed_in is None:
            raise OperateError("the service opened no session for the second person")
        _keep(client.url, other.signed_in, _session_file(second=True))


def _keep(url: str, signed_in: SignedIn, file: Path) -> None:
    """Keep a session where only its owner can read it."""
    kept = {"url": url, "signed_in": signed_in.model_dump(mode="json")}
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as target:
        json.dump(kept, target)
    typer.echo(
        f"{signed_in.display_name} ({signed_in.role}) is signed in until {signed_in.expires_utc}"
    )


def logout(url: Url = DEFAULT_URL, ca_file: CaFile = None) -> None:
    """End the session of `igrt login`."""
    with signed_in_client(url, ca_file) as client:
        client.logout()
    _session_file().unlink(missing_ok=True)
    _session_file(second=True).unlink(missing_ok=True)  # their session ended with the first


def status(
    url: Url = DEFAULT_URL,
    ca_file: CaFile = None,
    as_json: AsJson = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="Print every change until interrupted.")
    ] = False,
    terminal: Annotated[
        str | None,
        typer.Option(
            help="With --follow: stand for this terminal and keep its lease; motion needs one."
        ),
    ] = None,
) -> None:
    """Show the state of the loop, the devices and what is needed next."""
    if terminal is not None and not follow:
        raise OperateError("--terminal needs --follow: a lease lasts only while somebody is there")
    if follow:
        asyncio.run(_follow(url, ca_file, as_json, terminal))
        return
    with signed_in_client(url, ca_file) as client:
        now = client.status()
    typer.echo(now.model_dump_json(indent=2) if as_json else "\n".join(status_lines(now)))


async def _follow(url: str, ca_file: Path | None, as_json: bool, terminal: str | None) -> None:
    from igrt_hw.client import AsyncClient

    with signed_in_client(url, ca_file) as blocking:
        signed_in = blocking.signed_in
    last = ""
    async with AsyncClient(url, ca_file=ca_file) as client:
        if signed_in is not None:
            client.use(signed_in)
        async with aclosing(client.stream(terminal)) as updates:
            async for update in updates:
                if not update.connected:
                    text = update.cause
                elif update.status is None:
                    continue
                elif as_json:
                    text = update.status.model_dump_json()
                else:
                    text = status_lines(update.status)[0]
                if text != last:
                    typer.echo(text)
                    last = text


def status_lines(now: SupervisorStatus) -> list[str]:
    """The status in plain words, the most important first; the first line stands for all."""
    head = f"{now.state}: {now.reason or now.needed_next}"
    if now.simulator:
        head = f"SIMULATOR  {head}"
    lines = [head]
    if now.reason and now.needed_next:
        lines.append(f"next: {now.needed_next}")
    if now.plan is not None:
        patient = now.plan.patient
        lines.append(
            f"patient: {patient.name}, ID {patient.patient_id}; plan {now.plan.plan_label}"
        )
    if now.couch is not None:
        axes = ", ".join(
            f"{name} {value:+.2f} {unit}"
            for name, value, unit in zip(
                now.couch.axis_names, now.couch.primary, now.couch.axis_units, strict=True
            )
        )
        stale = f" STALE ({now.couch.age_ms:.0f} ms)" if now.couch.stale else ""
        lines.append(f"couch: {now.couch.state}; {axes}{stale}")
    for link in now.links:
        state = "connected" if link.connected else f"NOT connected: {link.cause}"
        lines.append(f"{link.name} on {link.port}: {state}")
    lines += [f"open: {lock.name}: {lock.detail}" for lock in now.interlocks if not lock.satisfied]
    lines += [
        f"alarm {alarm.alarm_id} ({alarm.priority}): {alarm.text} {alarm.what_to_do}"
        for alarm in now.alarms
        if alarm.active
    ]
    if now.proposal is not None:
        lines.append(f"proposal: {now.proposal.digest}")
    if now.qa is not None:
        lines += [
            f"QA {step.test}: {step.outcome}" + (f"; {step.next_step}" if step.next_step else "")
            for step in now.qa.steps
            if step.outcome != "passed"
        ]
    if now.procedure:
        lines.append(f"what to do, step by step: igrt procedures '{now.procedure}'")
    return lines


def plans(url: Url = DEFAULT_URL, ca_file: CaFile = None, as_json: AsJson = False) -> None:
    """List the plans that the service has read."""
    with signed_in_client(url, ca_file) as client:
        found = client.plans()
    if as_json:
        typer.echo(json.dumps([plan.model_dump(mode="json") for plan in found], indent=2))
        return
    for plan in found:
        isocentres = ", ".join(i.isocentre_id for i in plan.isocentres)
        typer.echo(
            f"{plan.patient.patient_id}  {plan.patient.name}  {plan.plan_label}  {isocentres}  {plan.plan_uid}"
        )


def _fields(words: list[str]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise OperateError(f"{word!r} is not of the form field=value")
        fields[name] = value
    return fields


def command(
    kind: Annotated[str, typer.Argument(help="Kind of the command, e.g. open_patient, arm.")],
    fields: Annotated[list[str] | None, typer.Argument(help="Its fields as field=value.")] = None,
    url: Url = DEFAULT_URL,
    ca_file: CaFile = None,
    as_json: AsJson = False,
    second: Annotated[
        bool, typer.Option("--second", help="As the second person (`igrt second-person`).")
    ] = False,
) -> None:
    """Ask the supervisor for something, as the screen does. Approving takes `request_challenge`, then `approve`."""
    from pydantic import TypeAdapter, ValidationError

    from igrt_hw.models.commands import Command

    adapter: TypeAdapter[Command] = TypeAdapter(Command)
    try:
        ask = adapter.validate_strings({"kind": kind, **_fields(fields or [])})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise OperateError(f"{kind}: {where}: {first['msg']}" if where else first["msg"]) from error
    with signed_in_client(url, ca_file, second=second) as client:
        told(client.send(ask), as_json)


def told(result: CommandResult, as_json: bool) -> None:
    """Print what the supervisor answered; exit 1 where it refused."""
    if as_json:
        typer.echo(result.model_dump_json(indent=2))
    else:
        typer.echo(result.message, err=not result.accepted)
        for name, value in result.data.items():
            typer.echo(f"{name}: {value}")
    if not result.accepted:
        raise typer.Exit(1)


def stop(
    url: Url = DEFAULT_URL,
    ca_file: CaFile = None,
    reason: Annotated[str, typer.Option(help="For the record.")] = "operator, command line",
) -> None:
    """STOP: whatever moves comes to rest, the plan and every permission are void."""
    from igrt_hw.models.commands import Stop

    with signed_in_client(url, ca_file) as client:
        result = client.demand(Stop(reason=reason))
    typer.echo(result.message)
