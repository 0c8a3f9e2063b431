"""What scenes and tasks may be called."""

from typing import Annotated

from pydantic import AfterValidator

DEFAULT_SCENE = "default"


def _plain_name(name: str) -> str:
    if not name or len(name) > 256 or not name.isprintable():
        raise ValueError("a name is 1 to 256 printable characters")
    return name


Name = Annotated[str, AfterValidator(_plain_name)]
