"""The one error of this package."""

from model.errors import FulcrumError


class FusionError(FulcrumError):
    """A fusion config that cannot be used. One line: where, what was expected, what was found."""
