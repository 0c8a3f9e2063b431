"""Errors a user can fix, and the words for a document that a pydantic model refuses.

Names, known keys and kinds are read from the model's class, so a new field or kind needs nothing here. Knows
nothing about where errors are shown (a terminal, an HTTP answer, a log).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, Tag, ValidationError
from pydantic_core import ErrorDetails

_SHOWN = 60  # characters of a bad value or key worth repeating
MOST_PROBLEMS = 20
"""Problems of one document worth translating."""
MOST_NAMES = 50
"""Names worth listing in a message."""

Path = Sequence[str | int]
Model = TypeVar("Model", bound=BaseModel)


class FulcrumError(ValueError):
    """Bad input: the message says what happened, what was expected and how to fix it, in one line."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a document.

    Attributes:
        path: where, as the document spells it, items of lists by their `name` if they have one:
            `features.video_id.kind`; empty for the document itself.
        message: what was expected and what was found.
    """

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


def checked(model: type[Model], document: object, source: str = "", at: str = "") -> Model:
    """The document as the model.

    Args:
        model: what the document must be.
        document: as read from YAML or JSON.
        source: names the document in errors: `recipe demo.yaml`.
        at: the document's own path, if it is part of another: `data.options`.

    Raises:
        FulcrumError: `SOURCE: PATH: what was expected, what was found`.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        title = f"{source}: " if source else ""
        raise FulcrumError(f"{title}{first_problem(error, model, document, at)}") from error


def first_problem(
    error: ValidationError, model: type[BaseModel], document: object = None, at: str = ""
) -> str:
    """The first problem in one line, and how many more there are. Arguments are those of `problems`."""
    found, count = problems(error, model, document, at)
    return f"{found[0]}{and_more(count)}"


def and_more(count: int) -> str:
    """What follows the first of `count` problems in a line."""
    return f" (and {count - 1} more)" if count > 1 else ""


def problems(
    error: ValidationError | Sequence[ErrorDetails],
    model: type[BaseModel],
    document: object = None,
    at: str = "",
) -> tuple[list[Problem], int]:
    """The first problems, 20 at most, and the number of all of them.

    Args:
        error: why the document was refused; or what pydantic found in its parts, by their place in it.
        model: the class that refused it.
        document: what was refused; without it, items of lists go by their index.
        at: the document's own path, if it is part of another.
    """
    details = error.errors(include_url=False) if isinstance(error, ValidationError) else error
    failures = [one for one in details if not _is_consequence(one)]
    # A misspelt key is also a missing one: the unknown key is what the user can see in the file.
    failures.sort(key=lambda one: one["type"] != "extra_forbidden")
    some = failures[:MOST_PROBLEMS]
    found = list(dict.fromkeys(_problem(one, model, document, at) for one in some))
    return found, len(failures) - len(some) + len(found)


def _is_consequence(one: ErrorDetails) -> bool:
    """Whether it follows from another problem: a list is too short without its bad values."""
    long_enough = one["type"] == "too_short" and len(one["input"]) >= one["ctx"]["min_length"]
    return long_enough or one["type"] == "default_factory_not_called"


def _problem(one: ErrorDetails, model: type[BaseModel], document: object, at: str) -> Problem:
    location, context, value = one["loc"], one.get("ctx", {}), one["input"]
    path, here = _walk(location, model, document, at)
    above, parent = _walk(location[:-1], model, document, at)
    match one["type"]:
        case "extra_forbidden":
            return Problem(path, f"unknown key; known keys are {_choice(location[-1], parent.fields())}")
        case "missing":
            return Problem(path, "required, but absent")
        case "union_tag_invalid" | "union_tag_not_found":
            key, kinds = context["discriminator"].strip("'"), here.branches()
            path = f"{path}.{key}" if path else key
            if not isinstance(value, Mapping) or key not in value:
                return Problem(path, f"required, but absent; the {key}s are {listed(kinds)}")
            kind = value[key]
            return Problem(path, f"unknown {key} {shown(kind)}; the {key}s are {_choice(kind, kinds)}")
        case "value_error" | "assertion_error" if location[-1:] == ("[key]",):
            path, _ = _walk(location[:-2], model, document, at)
            return Problem(path, f"bad name {shown(value)}: {context['error']}")
        case "value_error" | "assertion_error":
            return Problem(path, str(context["error"]))
    expected = _expected(one)
    if len(parent.members) > 1 and parent.discriminator is None:  # each type of the union has complained
        members = [member for member in parent.members if member is not int or float not in parent.members]
        expected = " or ".join(_TYPES.get(member, "another value") for member in members)
        path = above
    return Problem(path, f"expected {expected}, found {shown(value)}")


_TYPES = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}

_EXPECTED = {
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), "a mapping"),
    **dict.fromkeys(("list_type", "tuple_type"), "a list"),
    "finite_number": "a finite number",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number below {lt}",
    "less_than_equal": "a number of at most {le}",
    "literal_error": "{expected}",
    "string_type": "text",
    "string_too_short": "text of {min_length} or more characters",
    "string_too_long": "text of at most {max_length} characters",
    "string_pattern_mismatch": "text that matches {pattern}",
    "too_short": "{min_length} or more values",
    "too_long": "at most {max_length} values",
}
"""What pydantic says in words of Python."""


def _expected(one: ErrorDetails) -> str:
    words = _EXPECTED.get(one["type"])
    if words is None:
        return one["msg"].removeprefix("Input should be ")
    if one["type"] in {"too_short", "too_long"} and isinstance(one["input"], str):
        words = words.replace("values", "characters")
    if one["type"] in {"int_type", "float_type"} and isinstance(one["input"], str):
        return f"{words}, without quotes"
    bounds = one.get("ctx", {}).items()
    return words.format(**{key: f"{at:.15g}" if isinstance(at, float) else at for key, at in bounds})


def _choice(given: object, known: Iterable[str]) -> str:
    """The known names, and which of them was meant."""
    close = get_close_matches(str(given)[:_SHOWN], known, n=1)
    return f"{listed(known)}; did you mean {close[0]}?" if close else listed(known)


@dataclass(frozen=True)
class _Type:
    """The type of a value: None apart, one, or several in a union; and the key that tells these apart."""

    members: tuple[Any, ...]
    discriminator: Any = None

    @classmethod
    def of(cls, annotation: Any, *metadata: Any) -> _Type:
        if get_origin(annotation) is Annotated:
            inner, *more = get_args(annotation)
            return cls.of(inner, *metadata, *more)
        if get_origin(annotation) not in {Union, UnionType}:
            return cls((annotation,))
        members = tuple(member for member in get_args(annotation) if member is not NoneType)
        if len(members) == 1:
            return cls.of(members[0], *metadata)
        keys = (getattr(one, "discriminator", None) for one in metadata)  # of a Field or a Discriminator
        return cls(members, next((key for key in keys if key is not None), None))

    def models(self) -> list[type[BaseModel]]:
        plain = (_Type.of(member).members[0] for member in self.members)
        return [member for member in plain if isinstance(member, type) and issubclass(member, BaseModel)]

    def fields(self) -> list[str]:
        return [name for model in self.models() for name in model.model_fields]

    def branches(self) -> dict[str, _Type]:
        """The union's members by what pydantic calls them, which no document spells out."""
        if isinstance(self.discriminator, str):
            key = self.discriminator
            return {
                tag: _Type((model,))
                for model in self.models()
                for tag in get_args(model.model_fields[key].annotation)
            }
        return {
            next((one.tag for one in get_args(member)[1:] if isinstance(one, Tag)), name): _Type.of(member)
            for member in self.members
            for name in [getattr(member, "__name__", "")]
        }

    def child(self, part: str | int) -> _Type:
        member = self.members[0]
        if models := self.models():
            field = models[0].model_fields.get(str(part))
            return _ANY if field is None else _Type.of(field.annotation, field, *field.metadata)
        types = get_args(member)
        if isinstance(part, int) and types:
            fixed = get_origin(member) is tuple and types[-1] is not Ellipsis
            return _Type.of(types[part] if fixed else types[0])
        return _Type.of(types[-1]) if types else _ANY


_ANY = _Type((Any,))


def _walk(location: Path, model: type[BaseModel], document: object, at: str) -> tuple[str, _Type]:
    """Where pydantic's location is in the document, and the type that belongs there."""
    here, value = _Type.of(model), document
    path: list[str | int] = [at] if at else []
    for part in location:
        if len(here.members) > 1:
            here = here.branches().get(str(part), _ANY)
            continue
        here, value = here.child(part), _item(value, part)
        name = value.get("name") if isinstance(value, Mapping) and "name" in here.fields() else None
        named = isinstance(part, int) and isinstance(name, str) and name.isidentifier()
        path.append(str(name) if named else part)
    return dotted(path), here


def _item(value: object, part: str | int) -> object:
    if isinstance(value, Mapping):
        return value.get(part)
    if isinstance(value, list | tuple) and isinstance(part, int) and part < len(value):
        return value[part]
    return None


def dotted(path: Path) -> str:
    """('scenes', 'feed', 'points', 2) as scenes.feed.points[2]."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = printable(part) if len(part) <= _SHOWN else shown(part)
            text += f".{name}" if text else name
    return text


def printable(name: str) -> str:
    """A name as it is, if it can stand in a line; else quoted, with escapes."""
    return name if name and name.isprintable() else shown(name)


def listed(names: Iterable[str]) -> str:
    """Names for a message, in their own order: the first 50, and how many more there are."""
    known = list(names)
    more = [f"and {len(known) - MOST_NAMES} more"] if len(known) > MOST_NAMES else []
    return ", ".join([*map(printable, known[:MOST_NAMES]), *more]) or "none"


def shown(value: object) -> str:
    """A bad value for a message: one line, never long."""
    match value:
        case Mapping():
            return "a mapping" if value else "an empty mapping"
        case list() | tuple():
            return f"a list of {len(value)}"
        case bool():
            return "true" if value else "false"
        case None:
            return "null"
        case str():
            value = value[: _SHOWN + 1]  # so that no more than what is shown is copied
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
