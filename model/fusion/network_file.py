"""The file of a learned formula's network: found beside the config, read within bounds, checked.

Runs nothing.
"""

import errno
import hashlib
from pathlib import Path

from model.files import read_file
from model.fusion.config import FusionConfig
from model.fusion.errors import FusionError
from model.fusion.formulas.learned import MAX_MODEL_BYTES, LearnedFormula

NETWORKS = "networks"
"""Folder beside a config, where networks may lie by their checksum: configs that name other files of one
name share it."""


def read_networks(config: FusionConfig, folder: Path) -> dict[str, bytes]:
    """The networks of a config, by checksum: beside it by name, or in `NETWORKS` by checksum.

    Raises:
        FusionError: as `read_network`, with the scene and the file in front.
    """
    found = {}
    for name, scene in config.scenes.items():
        if not isinstance(scene, LearnedFormula) or scene.sha256 in found:
            continue
        by_checksum = scene.model_copy(update={"file": f"{scene.sha256}.onnx"})
        try:
            if (folder / NETWORKS / by_checksum.file).is_file():
                found[scene.sha256] = read_network(by_checksum, folder / NETWORKS)
            else:
                found[scene.sha256] = read_network(scene, folder)
        except FusionError as error:
            raise FusionError(f"scene {name}: network {scene.file}: {error}") from None
    return found


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
