"""Profiles for property tests: `dev` explores, `ci` is repeatable and a little deeper, `campaign` is
for a machine that has hours (`HYPOTHESIS_PROFILE=campaign`, with `--timeout=0`)."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("dev", deadline=None, max_examples=50)
settings.register_profile(
    "ci",
    deadline=None,
    max_examples=100,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "campaign",
    deadline=None,
    max_examples=2000,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever lies in `tests/hil` is marked `hil`. Files with long tests begin first, so that several processes end
    together; within a file the order stays as it is written."""
    hil = Path(__file__).parent / "hil"
    for item in items:
        if hil in item.path.parents:
            item.add_marker("hil")
    long = {item.path for item in items if item.get_closest_marker("slow")}
    keyboard = {item.path for item in items if item.get_closest_marker("hil")} - {
        item.path for item in items if hil in item.path.parents
    }

    def turn(item: pytest.Item) -> tuple[bool, bool]:
        # Of what runs against the wall clock, whole sessions by keyboard take longest.
        return item.path not in long, item.path not in keyboard

    items.sort(key=turn)
