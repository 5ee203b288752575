"""What can go wrong between a user interface and the supervisor: one tree of sentences."""


class ClientError(Exception):
    """Base of all that the client raises. `str(error)` is a sentence: what, where, what to do."""


class ServiceUnreachableError(ClientError):
    """Nobody answers at the service's address, or not in time."""


class NotSignedInError(ClientError):
    """The user session is missing, ended or expired, or name and password do not fit."""


class SignInLockedError(ClientError):
    """Too many failed attempts: the account is locked for a while."""


class TooManyRequestsError(ClientError):
    """The service limits the rate of calls."""


class NotPermittedError(ClientError):
    """The role of this user does not include this act."""


class NotFoundError(ClientError):
    """There is no such image, plan or entry."""


class CommandRefusedError(ClientError):
    """The state of the loop does not allow the command now."""


class WaitedInVainError(ClientError):
    """What was waited for did not come in time."""


class InvalidRequestError(ClientError):
    """The service does not understand the request: a field is missing or has a wrong value."""


class ServiceFailedError(ClientError):
    """The service broke down on this call; its own record says more."""


class UnexpectedAnswerError(ClientError):
    """The answer is not what this client's version expects: the versions differ."""


class SimulatorError(ClientError):
    """Base of what goes wrong on the simulator's control socket."""


class SimulatorUnreachableError(SimulatorError):
    """Nobody listens on the control socket."""


class SimulatorRefusedError(SimulatorError):
    """The simulator refused a request; the sentence is its own."""
