"""A fusion config as a file for people: YAML, everything written out. Knows nothing of what found it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from model.document import write_document
from model.errors import FulcrumError
from model.files import replace_file
from model.fusion import MAX_BYTES, FusionConfig, LearnedFormula, parse_fusion
from model.fusion.network_file import read_network


def write_config(
    config: FusionConfig, path: Path, comment: str, source: Path, networks: Mapping[str, bytes] | None = None
) -> None:
    """Write a config that `load_fusion` reads as the same, and the networks that it names beside it.

    Args:
        config: what to write.
        path: where to; its folder is made.
        comment: the first line, without its `#`.
        source: the config that it was made from, whose folder has the networks.
        networks: others than these, by checksum.

    Raises:
        FulcrumError: it would be larger than a config may be, or a network cannot be read.
    """
    text = f"# {comment}\n{write_document(config.model_dump(mode='json', exclude_none=True))}"
    if (size := len(text.encode())) > MAX_BYTES:
        raise FulcrumError(
            f"{path}: the config would have {size:,} bytes, and may have {MAX_BYTES:,}; give one --scene, "
            "fewer --tasks, or --kind platt"
        )
    if parse_fusion(text) != config:
        raise AssertionError("a written config reads otherwise")
    folder = path.absolute().parent
    folder.mkdir(parents=True, exist_ok=True)
    for scene in config.scenes.values():
        if not isinstance(scene, LearnedFormula):
            continue
        if networks and scene.sha256 in networks:
            replace_file(folder / scene.file, networks[scene.sha256])
        elif folder != source.absolute().parent:
            replace_file(folder / scene.file, read_network(scene, source.parent))
    replace_file(path, text.encode())
