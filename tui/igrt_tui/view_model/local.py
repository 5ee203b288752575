"""What this terminal knows by itself: who sits here, how old the status is, what was just answered."""

from dataclasses import dataclass, field
from enum import StrEnum

from igrt_hw.models.status import SupervisorStatus

OLD_AFTER_MS = 180.0  # with a redraw every 50 ms, a lost service is on the screen within 250 ms
GONE_AFTER_MS = (
    1000.0  # one late status is no reason to throw a careful reading away; a second without any is
)
WIDTH_MIN = 100
HEIGHT_MIN = 30


class AnswerTone(StrEnum):
    """How an answer is meant."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    WORKING = "working"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Answer:
    """The last thing that was answered to this terminal, shown above the keys."""

    tone: AnswerTone
    text: str


@dataclass(frozen=True, slots=True)
class User:
    """Who is signed in at this terminal."""

    username: str
    display_name: str
    role: str

    @property
    def named(self) -> str:
        """Return name and role, the role once."""
        return (
            self.display_name
            if self.role in self.display_name
            else f"{self.display_name} ({self.role})"
        )


@dataclass(frozen=True, slots=True)
class HoldReport:
    """The last HOLD of this terminal: when it was pressed and whether the supervisor has confirmed it."""

    pressed_us: int
    confirmed_us: int | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class PendantReport:
    """The simulated pendant of the demo, as this terminal holds it. `available` only with a control socket."""

    available: bool = False
    held_until_us: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Local:
    """Everything a screen is drawn from besides the status. Times are of this terminal's steady clock."""

    now_us: int
    width: int = WIDTH_MIN
    height: int = HEIGHT_MIN
    connected: bool = False
    cause: str = "not connected yet"
    received_us: int | None = None
    announced_simulator: bool | None = None
    user: User | None = None
    answer: Answer | None = None
    answered_us: int = 0
    hold: HoldReport | None = None
    pendant: PendantReport = field(default_factory=PendantReport)

    @property
    def status_age_ms(self) -> float | None:
        """Age of the status on the screen; negative if this terminal's clock went back, None if there is none."""
        return None if self.received_us is None else (self.now_us - self.received_us) / 1000

    @property
    def old(self) -> bool:
        """Whether what is on the screen must not be taken for the present."""
        age_ms = self.status_age_ms
        return age_ms is None or not 0 <= age_ms <= OLD_AFTER_MS

    @property
    def gone(self) -> bool:
        """Whether the supervisor has been silent for so long that what was begun on its word must end."""
        age_ms = self.status_age_ms
        return age_ms is None or not 0 <= age_ms <= GONE_AFTER_MS

    @property
    def too_small(self) -> bool:
        """Whether the terminal is below the size at which everything needed for an approval is shown."""
        return self.width < WIDTH_MIN or self.height < HEIGHT_MIN


@dataclass(frozen=True, slots=True)
class Scene:
    """Status (None before the first) and local state: the whole input of a screen."""

    status: SupervisorStatus | None
    local: Local

    @property
    def simulator(self) -> bool | None:
        """Whether simulated hardware is at the other end; None while nobody has said so."""
        if self.status is None:
            return self.local.announced_simulator
        return self.status.simulator

    def expires_in_s(self) -> float | None:
        """Return the time left of the proposal now: what the supervisor said, less the age of its word."""
        if self.status is None or self.status.expires_in_s is None:
            return None
        return self.status.expires_in_s - max(0.0, self.local.status_age_ms or 0.0) / 1000

    def image_age_s(self) -> float | None:
        """Return the age of the images now."""
        if self.status is None or self.status.image_age_s is None:
            return None
        return self.status.image_age_s + max(0.0, self.local.status_age_ms or 0.0) / 1000
