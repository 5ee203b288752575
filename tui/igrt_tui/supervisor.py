"""What this app needs of the supervisor's client: the seam at which tests put a double.

`igrt_hw.client.AsyncClient` and `SimulatedHand` fit these protocols as they are.
"""

from collections.abc import AsyncGenerator, Callable
from typing import Protocol

from igrt_hw.client import KvImage, StreamUpdate
from igrt_hw.client.hand import EnablePosition
from igrt_hw.geometry import Correction
from igrt_hw.models.commands import Command, CommandResult
from igrt_hw.models.landmarks import Landmarks
from igrt_hw.models.plan import TreatmentPlan
from igrt_hw.models.procedures import Procedure
from igrt_hw.models.qa import QaRun, QaTest, QaTrend
from igrt_hw.models.record import RecordEntry
from igrt_hw.models.review import AlarmReview, OverrideReview
from igrt_hw.models.room import RoomMap, RoomPicture, RoomQuestion
from igrt_hw.models.trends import ShiftTrend
from igrt_hw.models.users import ChainVerdict, Health, SignedIn


class Supervisor(Protocol):
    """The service, as one signed-in person sees it."""

    @property
    def signed_in(self) -> SignedIn | None: ...  # noqa: D102

    async def health(self) -> Health: ...  # noqa: D102

    async def login(self, username: str, password: str) -> SignedIn: ...  # noqa: D102

    async def logout(self) -> None: ...  # noqa: D102

    async def second_person(self, username: str, password: str) -> "Supervisor": ...  # noqa: D102

    async def plans(self) -> list[TreatmentPlan]: ...  # noqa: D102

    async def send(self, command: Command) -> CommandResult: ...  # noqa: D102

    async def image(self, image_uid: str) -> KvImage: ...  # noqa: D102

    async def drr(self, image_uid: str, *, registered: bool) -> KvImage: ...  # noqa: D102

    async def nudged_drr(  # noqa: D102
        self, image_uid: str, correction: Correction, *, side_max: int = 384
    ) -> tuple[KvImage, float | None]: ...

    async def landmarks(self, image_uid: str, correction: Correction | None) -> Landmarks: ...  # noqa: D102

    async def room_picture(self, asked: RoomQuestion) -> RoomPicture: ...  # noqa: D102

    async def room_map(self) -> RoomMap: ...  # noqa: D102

    async def record(self, *, after: int = 0, limit: int = 200) -> list[RecordEntry]: ...  # noqa: D102

    async def verify_record(self) -> ChainVerdict: ...  # noqa: D102

    async def qa_tests(self) -> list[QaTest]: ...  # noqa: D102

    async def qa_runs(self, *, limit: int = 30) -> list[QaRun]: ...  # noqa: D102

    async def qa_trend(self, test: str, *, days: int = 365) -> QaTrend: ...  # noqa: D102

    async def shift_trend(self, patient_id: str, plan_uid: str) -> ShiftTrend: ...  # noqa: D102

    async def override_review(self, *, days: int = 1) -> OverrideReview: ...  # noqa: D102

    async def alarm_review(self, *, days: int = 1) -> AlarmReview: ...  # noqa: D102

    async def procedures(self) -> list[Procedure]: ...  # noqa: D102

    def stream(  # noqa: D102
        self, terminal_id: str | None = None, *, alive: Callable[[], bool] = ...
    ) -> AsyncGenerator[StreamUpdate, None]: ...

    async def close(self) -> None: ...  # noqa: D102


class Hand(Protocol):
    """The hand on the simulated pendant."""

    async def enable(self, position: EnablePosition, for_ms: int | None = None) -> None: ...  # noqa: D102

    async def close(self) -> None: ...  # noqa: D102
