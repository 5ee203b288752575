"""What people do when something went wrong, step by step."""

from __future__ import annotations

from igrt_hw.models.base import Frozen


class Procedure(Frozen):
    """A numbered list of steps. `when`: the occasion, in words."""

    name: str
    title: str
    when: str
    steps: tuple[str, ...]
