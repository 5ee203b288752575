"""`igrt user`: people in the store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from igrt_hw.commands.places import default_store
from igrt_hw.models.users import Role

Store = Annotated[
    Path | None, typer.Option("--store", envvar="IGRT_STORE", help="Folder of record and users.")
]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    users = typer.Typer(help="People who may sign in.", no_args_is_help=True)
    users.command("add")(add)
    users.command("list")(list_all)
    app.add_typer(users, name="user")


def add(
    username: Annotated[str, typer.Argument(help="a-z, then a-z 0-9 . _ -")],
    role: Annotated[Role, typer.Option(help="What this person may do.")],
    display_name: Annotated[str, typer.Option("--name", help="As shown on screen.")],
    store: Store = None,
    password: Annotated[
        str,
        typer.Option(
            prompt=True, confirmation_prompt=True, hide_input=True, envvar="IGRT_NEW_PASSWORD"
        ),
    ] = "",
) -> None:
    """Add a person. The password is asked for, and kept as an argon2 hash."""
    from igrt_hw.server.users import open_users

    users = open_users(store or default_store(), demo_users=False)
    user = users.add(username, display_name, role, password)
    typer.echo(f"{user.display_name} may sign in as {user.username} ({user.role})")


def list_all(store: Store = None) -> None:
    """List everybody in the store."""
    from igrt_hw.server.users import open_users

    for user in open_users(store or default_store(), demo_users=False).all():
        demo = "  (demo only)" if user.demo else ""
        typer.echo(f"{user.username:<20} {user.role:<10} {user.display_name}{demo}")
