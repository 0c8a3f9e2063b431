"""The one error of this package."""

from model.errors import FulcrumError

__all__ = ["FusionError"]


class FusionError(FulcrumError):
    """A fusion config that cannot be used. One line: where, what was expected, what was found."""
