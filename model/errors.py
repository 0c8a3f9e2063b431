"""Errors a user can mend. Knows nothing about where they are shown (a terminal, an HTTP answer, a log)."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

__all__ = ["FulcrumError", "first_problem", "problems", "shown"]

_SHOWN = 60  # characters of a bad value worth repeating


class FulcrumError(ValueError):
    """Bad input: the message says what happened, what was expected and how to mend it, in one line."""


def problems(error: ValidationError) -> list[str]:
    """One line a problem: ``features[3].kind: expected ..., found ...``."""
    lines = []
    for problem in error.errors(include_url=False):
        where = _path(problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        kind = problem["type"]
        if kind == "default_factory_not_called":
            continue  # a consequence of another problem
        if kind == "extra_forbidden":
            message = "unknown key; docs/recipes.md lists the keys that exist"
        elif kind == "missing":
            message = "required, but absent"
        elif kind not in {"value_error", "assertion_error", "union_tag_invalid", "union_tag_not_found"}:
            message = f"{message[0].lower()}{message[1:]}, found {shown(problem['input'])}"
        lines.append(f"{where}: {message}" if where else message)
    return lines


def first_problem(error: ValidationError) -> str:
    """The first problem, and how many more there are."""
    lines = problems(error)
    return lines[0] if len(lines) == 1 else f"{lines[0]} (and {len(lines) - 1} more)"


_TAGS = frozenset(
    (
        *("id", "categorical", "numeric", "binary", "regression"),
        *("by rule", "by time", "fixed", "decayed", "uncertainty"),
    )
)
"""Tags of unions, which pydantic puts into paths and no file spells out."""


def _path(location: Sequence[int | str]) -> str:
    path = ""
    for place, part in enumerate(location):
        if isinstance(part, int):
            path += f"[{part}]"
        elif part in _TAGS and place > 0:
            continue
        elif path:
            path += f".{part}"
        else:
            path = part
    return path


def shown(value: object) -> str:
    """A bad value for a message: one line, never long."""
    match value:
        case dict():
            return "a mapping"
        case list() | tuple():
            return f"a list of {len(value)}"
        case bool():
            return "true" if value else "false"
        case None:
            return "empty"
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
