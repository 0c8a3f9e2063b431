"""What can go wrong with a request. Knows nothing about what a request means, nor of HTTP statuses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from model.errors import and_more, problems


class ServiceError(Exception):
    """A request that gets no answer; the message is for the caller."""


@dataclass(frozen=True)
class FieldProblem:
    """What is wrong with one value of the body.

    Attributes:
        field: its path, `candidates[3].video_len`; `body` for the whole.
        message: what was expected, what was found.
    """

    field: str
    message: str


class InvalidRequestError(ServiceError):
    """The body breaks the contract.

    Attributes:
        problems: what is wrong, or the first of it where `count` is larger, or not all of the body was read.
        count: of what is wrong.
        all_read: whether all of the body was read.
    """

    def __init__(self, *problems: FieldProblem, count: int = 1, all_read: bool = True) -> None:
        self.problems = problems
        self.count = count
        self.all_read = all_read
        more = and_more(count) if all_read else f" (and at least {count - 1} more)"
        super().__init__(f"{problems[0].field}: {problems[0].message}{more}")


class BodyTooLargeError(ServiceError):
    """The body has more bytes than the service takes."""


class MediaTypeError(ServiceError):
    """The body says that it is not JSON."""


class EncodingError(ServiceError):
    """The body says that it is compressed, or encoded otherwise."""


class NotReadyError(ServiceError):
    """The service has not loaded what it serves."""


class SlowClientError(ServiceError):
    """The body did not come in time."""


class OverloadedError(ServiceError):
    """There is more to do than can be done in time.

    Attributes:
        retry_after_s: seconds after which another try makes sense.
    """

    def __init__(self, message: str, retry_after_s: int) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class FeedbackUnavailableError(OverloadedError):
    """Feedback could not be kept, or it is not known whether it was."""


class UnauthorizedError(ServiceError):
    """The request does not carry the token that it needs."""


class ForbiddenError(ServiceError):
    """Nobody may do this here."""


class NotFoundError(ServiceError):
    """What the path names does not exist."""


class ConflictError(ServiceError):
    """It cannot be done as things are."""


class StateUnavailableError(ServiceError):
    """What was asked for could not be written down, so it was not done."""


def invalid(failures: Sequence[ErrorDetails], model: type[BaseModel], all_read: bool) -> InvalidRequestError:
    """A failed validation of a body by `model`, in the caller's words."""
    found, count = problems(failures, model)
    listed = (FieldProblem(one.path or "body", one.message) for one in found)
    return InvalidRequestError(*listed, count=count, all_read=all_read)
