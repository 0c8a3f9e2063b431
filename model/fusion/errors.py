"""The one error of this package, and the words for what is wrong with a fusion config.

Turns a validation failure into one line: the path of the bad value, what it is, what was expected.
Does not know the config's fields: whoever calls says which keys exist at a path.
"""

from collections.abc import Callable, Mapping, Sequence

from pydantic import ValidationError

from model.errors import FulcrumError, shown

Path = tuple[str | int, ...]


class FusionError(FulcrumError):
    """A fusion config that cannot be used. The message is one line and names the place and the mend."""


def printable(name: str) -> str:
    """A name as it is, if it fits on a line; else quoted with escapes."""
    return name if name and name.isprintable() else shown(name)


def dotted(path: Path) -> str:
    """('scenes', 'feed', 'points', 2) as scenes.feed.points[2]."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{printable(part)}" if text else printable(part)
    return text


def listed(names: Sequence[str]) -> str:
    """Names for a message, in their own order."""
    return ", ".join(map(printable, names)) or "none"


def explain_invalid(
    invalid: ValidationError,
    known_keys: Callable[[Path], Sequence[str]],
    union_tags: Callable[[Path], Sequence[str]],
) -> str:
    """The most telling failure in one line.

    `known_keys(path)` gives the keys that exist at a path as the validator reports it; `union_tags(path)`
    the kinds of the union there, if it is one: the next part of such a path is its tag, which no file has.
    """
    failures = invalid.errors(include_url=False)
    # A misspelt key is reported as missing and as unknown; the latter says what to mend.
    first = next((one for one in failures if one["type"] == "extra_forbidden"), failures[0])
    raw: Path = first["loc"]
    path = tuple(part for place, part in enumerate(raw) if not union_tags(raw[:place]))
    where, context = dotted(path), first.get("ctx", {})
    match first["type"]:
        case "extra_forbidden":
            known = listed(known_keys(raw[:-1]))
            return f"unknown key {shown(path[-1])} {_within(path[:-1])}; known keys are {known}"
        case "missing" if isinstance(path[-1], str):
            known = listed(known_keys(raw[:-1]))
            return f"missing key {shown(path[-1])} {_within(path[:-1])}; known keys are {known}"
        case "union_tag_not_found":
            return f"missing key 'kind' in {where}; expected one of {listed(union_tags(raw))}"
        case "union_tag_invalid":
            kinds = listed(union_tags(raw))
            return f"unknown kind {shown(first['input']['kind'])} in {where}; the kinds are {kinds}"
        case "value_error" if path and path[-1] == "[key]":
            return f"bad name {shown(first['input'])} {_within(path[:-2])}: {context['error']}"
        case "value_error":
            return f"{where}: {context['error']}"
    return f"{where} is {shown(first['input'])}; expected {_expected(first['type'], context, first['msg'])}"


def _within(path: Path) -> str:
    return f"in {dotted(path)}" if path else "at the top level"


def _expected(kind: str, context: Mapping[str, object], message: str) -> str:
    match kind:
        case "float_type" | "float_parsing":
            return "a number, without quotes"
        case "finite_number":
            return "a finite number"
        case "greater_than":
            return f"a number above {context['gt']}"
        case "greater_than_equal":
            return f"a number of at least {context['ge']}"
        case "less_than_equal":
            return f"a number of at most {context['le']}"
        case "model_type" | "model_attributes_type" | "dict_type":
            return "a mapping"
        case "string_type":
            return "text"
        case "tuple_type":
            return "a list"
        case "missing":
            return "one more value in the list"
        case "too_short":
            return f"at least {context['min_length']} in the list"
        case "too_long":
            return f"{context['max_length']} in the list"
    return message.removeprefix("Input should be ")
