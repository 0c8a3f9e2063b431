"""What documents are made of: immutable objects, and names."""

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Frozen(BaseModel):
    """A configuration object: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Strict(Frozen):
    """The same, and a value of another type is an error, where else "1" may stand for 1."""

    model_config = ConfigDict(strict=True)


def _plain(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"expected letters, digits and underscores, found {name!r}")
    return name


Name = Annotated[str, AfterValidator(_plain)]
"""A name that expressions and requests can say."""
