"""The file of a learned formula's network: found beside the config, read within bounds, checked.

Runs nothing.
"""

import errno
import hashlib
from pathlib import Path

from model.files import read_file
from model.fusion.errors import FusionError
from model.fusion.formulas.learned import MAX_MODEL_BYTES, LearnedFormula


def read_network(formula: LearnedFormula, folder: Path) -> bytes:
    """The bytes whose checksum the formula names. Links are followed: the checksum says what they lead to.

    Args:
        formula: names the file.
        folder: of the config.

    Raises:
        FusionError: there is no such file, it is no regular file, too large, or not the one that is named.
    """
    try:
        content = read_file(folder / formula.file, MAX_MODEL_BYTES)
    except FileNotFoundError:
        raise FusionError(f"there is no such file in {folder}; put it beside the config") from None
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise FusionError(f"larger than {MAX_MODEL_BYTES} bytes; expected a small network") from None
        raise FusionError(f"cannot read the file: {error.strerror}") from None
    found = hashlib.sha256(content).hexdigest()
    if found != formula.sha256:
        raise FusionError(
            f"its sha256 is {found}, the config says {formula.sha256}; "
            "bring the file that the config names, or write the former into the config"
        )
    return content
