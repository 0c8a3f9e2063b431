"""How large a fusion config may be, and which numbers it may hold: finite always, written without quotes."""

from typing import Annotated

from pydantic import AfterValidator, Field

MAX_BYTES = 128 * 1024
"""Of a config's text: 300 scenes of ten tasks. Parsing takes 15 to 25 s per MiB, beside the requests."""
MAX_WEIGHT = 100.0


def _positive_zero(value: float) -> float:
    return float(value) + 0.0  # -0.0 means 0.0, and one meaning has one hash


Number = Annotated[float, Field(strict=True, allow_inf_nan=False), AfterValidator(_positive_zero)]
Positive = Annotated[Number, Field(gt=0)]
NonNegative = Annotated[Number, Field(ge=0)]
Weight = Annotated[Number, Field(ge=-MAX_WEIGHT, le=MAX_WEIGHT)]
