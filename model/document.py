"""Text to plain values, strictly, and back: YAML as far as a config needs it, and JSON, a part of that.

Scalars follow the YAML 1.2 core schema, so `1e-4` is a number and `on` is a name, as JSON readers expect.
Refuses what hides a mistake or an attack: duplicate keys, keys that are not text, aliases, tags, deep
nesting.
Knows nothing about what the values mean.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import yaml

from model.errors import FulcrumError, shown

MAX_BYTES = 1 << 20
MAX_DEPTH = 32

_TAG = "tag:yaml.org,2002:"
_NUMBER_OF_NAME = {"inf": float("inf"), "+inf": float("inf"), "-inf": float("-inf"), "nan": float("nan")}


def read_text(path: Path, most_bytes: int = MAX_BYTES) -> str:
    """The text of a document's file, UTF-8; of a file too large, enough for `read_document` to refuse it.

    Raises FulcrumError, without the path: it cannot be read, or is not UTF-8.
    """
    try:
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
        # Half a character at the cut is not the file's fault: the size is, and parsing says so.
        return content.decode("utf-8", "replace" if len(content) > most_bytes else "strict")
    except OSError as error:
        raise FulcrumError(f"cannot read the file: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise FulcrumError(f"byte {error.start} is not UTF-8; save the file as UTF-8") from None


def read_document(text: str, most_bytes: int = MAX_BYTES) -> object:
    """The one document in `text` as dict, list, str, int, float, bool or None.

    Raises FulcrumError for anything else, with the line where the parser knows it.
    """
    if len(text.encode("utf-8", "surrogatepass")) > most_bytes:
        raise FulcrumError(f"larger than {most_bytes} bytes; is this the right file?")
    if text.lstrip("\ufeff \t\r\n").startswith("{"):
        # JSON may be indented by tabs, which the YAML parser refuses; inside a JSON string there are none.
        text = text.expandtabs(1)
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise FulcrumError(f"not text at line {line}: character U+{error.character:04X}") from None
    except yaml.MarkedYAMLError as error:
        said = ", ".join(part for part in (error.context, error.problem) if part)
        raise FulcrumError(f"not valid YAML{_place(error.problem_mark)}: {said}") from None
    return None if node is None else _value(node)


def write_document(values: Mapping[str, object]) -> str:
    """YAML that `read_document` reads as the same, for people: small collections on one line each.

    The same values give the same text.
    """
    return yaml.dump(
        dict(values), Dumper=_Dumper, sort_keys=False, width=110, default_flow_style=None, allow_unicode=True
    )


class _Loader(yaml.SafeLoader):
    """The YAML parser without aliases and tags, bounded in depth, resolving the core schema only."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - replaces the YAML 1.1 ones, which read `no` as false
    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        where = _place(event.start_mark)
        if isinstance(event, yaml.AliasEvent):
            raise FulcrumError(f"alias *{event.anchor}{where} is not accepted; write the value out")
        if getattr(event, "tag", None) is not None:
            raise FulcrumError(f"a tag{where} is not accepted; write the plain value")
        if self._depth == MAX_DEPTH:
            raise FulcrumError(f"nested deeper than {MAX_DEPTH} levels{where}")
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


for _kind, _pattern, _first in (
    ("null", r"(?:null|Null|NULL|~|)$", ["n", "N", "~", ""]),
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"[-+]?[0-9]+$", list("-+0123456789")),
    (
        "float",
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        list("-+.0123456789"),
    ),
):
    _Loader.add_implicit_resolver(_TAG + _kind, re.compile(_pattern), _first)


class _Dumper(yaml.SafeDumper):
    """Quotes what this module would read as something else than text, and what YAML 1.1 would."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - of both, by first character
        first: [*_Loader.yaml_implicit_resolvers.get(first, ()), *old]
        for first, old in (
            dict.fromkeys(_Loader.yaml_implicit_resolvers, ()) | yaml.SafeDumper.yaml_implicit_resolvers
        ).items()
    }

    def ignore_aliases(self, data: object) -> bool:
        del data
        return True  # one value in two places is written twice


def _value(node: yaml.Node) -> object:
    if isinstance(node, yaml.MappingNode):
        return _mapping(node)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item) for item in node.value]
    text: str = node.value
    match node.tag.removeprefix(_TAG):
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int":
            try:
                return int(text)
            except ValueError:
                raise FulcrumError(f"number of {len(text)} digits{_place(node.start_mark)}") from None
        case "float":
            return _NUMBER_OF_NAME.get(text.lower().replace(".", "", 1)) or float(text)
    try:
        # JSON writes characters beyond the basic plane as two escapes; the parser leaves them apart.
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise FulcrumError(f"half of a character in {text!a}{_place(node.start_mark)}") from None


def _mapping(node: yaml.MappingNode) -> dict[str, object]:
    values: dict[str, object] = {}
    for key_node, value_node in node.value:
        key, where = _value(key_node), _place(key_node.start_mark)
        if not isinstance(key, str):
            raise FulcrumError(f"a key that is not text{where}: {shown(key)}; put it in quotes")
        if key in values:
            raise FulcrumError(f"duplicate key {shown(key)}{where}; keep one of them")
        values[key] = _value(value_node)
    return values


def _place(mark: yaml.Mark | None) -> str:
    return f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
