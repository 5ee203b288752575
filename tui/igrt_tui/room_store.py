"""The picture and the map of the room that this terminal has, how old they are, and when to ask for the next."""

from dataclasses import dataclass

from igrt_hw.models.room import RoomMap, RoomPicture, RoomQuestion
from igrt_tui.grid import Grid
from igrt_tui.supervisor import Supervisor

MOVING_PERIOD_US = 110_000
RESTING_PERIOD_US = 450_000
FAILED_PERIOD_US = 2_000_000
OLD_AFTER_US = 1_200_000
"""A picture that is older is shown as old: at rest the next one comes well before."""


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A picture with what was asked for, and when its pose was true at the latest, on this terminal's clock."""

    question: RoomQuestion
    picture: RoomPicture
    pose_us: int

    def age_us(self, now_us: int) -> int:
        """Age of the pose: never less than it truly is."""
        return max(0, now_us - self.pose_us)

    def old(self, now_us: int) -> bool:
        """Whether it must not be taken for the present. A place on a path is never the present, and never old."""
        return self.picture.path_fraction is None and self.age_us(now_us) > OLD_AFTER_US


@dataclass(frozen=True, slots=True)
class SeenMap:
    """A map and when it was asked for."""

    made: RoomMap
    asked_us: int


@dataclass
class RoomStore:
    """What was drawn last. One picture is on its way at a time."""

    seen: Seen | None = None
    map: SeenMap | None = None
    asked_us: int = -FAILED_PERIOD_US
    asked: RoomQuestion | None = None
    waiting: bool = False
    map_waiting: bool = False
    problem: str = ""
    map_problem: str = ""
    drawn: tuple[Seen, bool, Grid] | None = None
    """The last picture as it was put into cells: whether it was old then, and the cells."""

    def due(self, question: RoomQuestion, now_us: int, moving: bool) -> bool:
        """Whether to ask for this picture now."""
        if self.waiting:
            return False
        since = now_us - self.asked_us
        if self.problem:
            return not 0 <= since < FAILED_PERIOD_US
        if self.asked is None or (question.path_fraction is None) != (
            self.asked.path_fraction is None
        ):
            return True  # what is live and what is not must not be mistaken for a moment
        if question != self.asked:
            return not 0 <= since < MOVING_PERIOD_US
        if question.path_fraction is not None and self.seen is not None:
            return False  # nothing changes on the path until somebody goes along it
        return not 0 <= since < (MOVING_PERIOD_US if moving else RESTING_PERIOD_US)

    def ask(self, question: RoomQuestion, now_us: int) -> None:
        """Note that a picture is on its way."""
        self.waiting, self.asked, self.asked_us = True, question, now_us

    async def fetch(self, supervisor: Supervisor, question: RoomQuestion, asked_us: int) -> None:
        """Fetch a picture that `ask` has noted."""
        try:
            picture = await supervisor.room_picture(question)
            # The pose was read after the question left here, so counting from then makes it older, never younger.
            pose_us = asked_us - round(picture.pose_age_ms * 1000)
            self.seen, self.problem = Seen(question, picture, pose_us), ""
        except Exception as error:
            self.problem = str(error) or type(error).__name__
        finally:
            self.waiting = False

    async def fetch_map(self, supervisor: Supervisor, asked_us: int) -> None:
        """Fetch the map of the pose of this instant."""
        self.map_waiting = True
        try:
            self.map, self.map_problem = SeenMap(await supervisor.room_map(), asked_us), ""
        except Exception as error:
            self.map_problem = str(error) or type(error).__name__
        finally:
            self.map_waiting = False
