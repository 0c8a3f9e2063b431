"""What can go wrong with a request. Knows nothing about what a request means, nor of HTTP statuses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

__all__ = [
    "BodyTooLargeError",
    "ConflictError",
    "FieldProblem",
    "ForbiddenError",
    "InvalidRequestError",
    "MediaTypeError",
    "NotFoundError",
    "NotReadyError",
    "OverloadedError",
    "ServiceError",
    "SlowClientError",
    "StateUnavailableError",
    "UnauthorizedError",
    "invalid",
    "shown",
]


_EXPECTED = {
    "model_type": "an object",
    "dict_type": "an object",
    "list_type": "a list",
    "too_short": "at least {min_length}",
    "too_long": "at most {max_length}",
}
"""What pydantic says in words of Python."""


Path = Sequence[int | str]


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
    """The body breaks the contract."""

    def __init__(self, *problems: FieldProblem) -> None:
        self.problems = problems
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(f"{problems[0].field}: {problems[0].message}{more}")


class BodyTooLargeError(ServiceError):
    """The body has more bytes than the service takes."""


class MediaTypeError(ServiceError):
    """The body says that it is not JSON."""


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


def invalid(error: ValidationError, known_keys: Callable[[Path], Sequence[str]]) -> InvalidRequestError:
    """A failed validation in the caller's words; `known_keys` says which keys exist at a path."""
    problems = []
    for found in error.errors(include_url=False):
        path, kind, message = found["loc"], found["type"], found["msg"]
        if kind == "extra_forbidden":
            message = f"unknown key; known keys are {', '.join(known_keys(path[:-1]))}"
        elif kind == "missing":
            message = "required, but absent"
        elif kind in _EXPECTED:
            message = (
                f"expected {_EXPECTED[kind].format(**found.get('ctx', {}))}, found {shown(found['input'])}"
            )
        elif kind == "value_error":
            message = message.removeprefix("Value error, ")
        else:
            message = f"{message[0].lower()}{message[1:]}, found {shown(found['input'])}"
        problems.append(FieldProblem(_dotted(path), message))
    return InvalidRequestError(*problems)


def shown(value: object) -> str:
    """A caller's value for a message: one line, never long."""
    match value:
        case dict():
            return "an object"
        case list():
            return f"a list of {len(value)}"
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _dotted(path: Path) -> str:
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if len(part) <= 60 else f"{part[:57]}..."
            text += f".{name}" if text else name
    return text or "body"
