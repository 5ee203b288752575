"""Why the service does not start, or why a job of it was not done: sentences for people."""


class ServiceError(Exception):
    """Base of the service's own errors."""


class StartRefusedError(ServiceError):
    """The service refuses to run; the sentence says what is wrong and what to do."""


class JobError(ServiceError):
    """A job (imaging, registration, path check) was not done; the sentence says why."""
