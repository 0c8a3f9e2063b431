"""The desired state in a file."""

from __future__ import annotations

from pathlib import Path

from model.files import read_file, replace_file
from service.control.state.desired import MAX_BYTES, Desired, StateError, parse_desired


class FileState:
    """The desired state in a file, which is replaced whole."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def name(self) -> str:
        """For messages."""
        return f"state file {self._path}"

    def read(self) -> Desired:
        """What is wanted."""
        try:
            content = read_file(self._path, MAX_BYTES)
        except FileNotFoundError:
            return Desired()
        except OSError as error:
            raise StateError(f"{self.name}: cannot be read ({error.strerror})") from error
        return parse_desired(content, self.name)

    def write(self, desired: Desired) -> None:
        """Want this from now on."""
        try:
            replace_file(self._path, desired.model_dump_json(exclude_none=True).encode(), durable=True)
        except OSError as error:
            raise StateError(f"{self.name}: cannot be written ({error.strerror})") from error
