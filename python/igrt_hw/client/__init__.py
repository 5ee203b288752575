"""The only door for user interfaces and scripts: a client for all of `docs/service_api.md`."""

from igrt_hw.client.clients import CALL_TIMEOUT_S, DEFAULT_URL, AsyncClient, Client
from igrt_hw.client.errors import (
    ClientError,
    CommandRefusedError,
    InvalidRequestError,
    NotFoundError,
    NotPermittedError,
    NotSignedInError,
    ServiceFailedError,
    ServiceUnreachableError,
    SignInLockedError,
    SimulatorError,
    SimulatorRefusedError,
    SimulatorUnreachableError,
    TooManyRequestsError,
    UnexpectedAnswerError,
    WaitedInVainError,
)
from igrt_hw.client.hand import BlockingHand, Endpoints, SimulatedHand
from igrt_hw.client.images import KvImage
from igrt_hw.client.stream import STALE_MS, StreamUpdate, steady_us

__all__ = [
    "CALL_TIMEOUT_S",
    "DEFAULT_URL",
    "STALE_MS",
    "AsyncClient",
    "BlockingHand",
    "Client",
    "ClientError",
    "CommandRefusedError",
    "Endpoints",
    "InvalidRequestError",
    "KvImage",
    "NotFoundError",
    "NotPermittedError",
    "NotSignedInError",
    "ServiceFailedError",
    "ServiceUnreachableError",
    "SignInLockedError",
    "SimulatedHand",
    "SimulatorError",
    "SimulatorRefusedError",
    "SimulatorUnreachableError",
    "StreamUpdate",
    "TooManyRequestsError",
    "UnexpectedAnswerError",
    "WaitedInVainError",
    "steady_us",
]
