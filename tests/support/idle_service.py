"""A status of a service at rest, for tests of what carries it and not of what it says."""

from igrt_hw.models.status import LoopState, SupervisorStatus


def idle_status(version: int = 1) -> SupervisorStatus:
    """Nobody is signed in, no patient is bound, nothing is wrong."""
    return SupervisorStatus(
        version=version,
        now_us=0,
        now_utc="2026-01-01T12:00:00Z",
        simulator=True,
        mode="clinical rehearsal",
        machine="linac_pedestal",
        state=LoopState.IDLE,
        needed_next="open a patient",
        reason="",
        activity=None,
        plan=None,
        isocentre_id=None,
        fraction=None,
        links=(),
        couch=None,
        imager=None,
        pendant=None,
        interlocks=(),
        alarms=(),
        images=(),
        registration=None,
        proposal=None,
        approvals=(),
        verification=None,
        image_age_s=None,
        expires_in_s=None,
        permission=False,
        terminal_age_ms=None,
        record_entries=0,
        record_head="0" * 64,
    )
