"""A fusion config as a file for people: YAML, everything written out. Knows nothing of what found it."""

from __future__ import annotations

from pathlib import Path

import yaml

from model.errors import FulcrumError
from model.files import replace_file
from model.fusion import MAX_BYTES, FusionConfig, parse_fusion


def write_config(config: FusionConfig, path: Path, comment: str) -> None:
    """Write a config that `load_fusion` reads as the same.

    Args:
        config: what to write.
        path: where to; its folder is made.
        comment: the first line, without its `#`.

    Raises:
        FulcrumError: it would be larger than a config may be.
    """
    document = config.model_dump(mode="json", exclude_none=True)
    body = yaml.safe_dump(document, sort_keys=False, width=110, default_flow_style=None)
    text = f"# {comment}\n{body}"
    if (size := len(text.encode())) > MAX_BYTES:
        raise FulcrumError(
            f"{path}: the config would have {size:,} bytes, and may have {MAX_BYTES:,}; give one --scene, "
            "fewer --tasks, or --kind platt"
        )
    if parse_fusion(text) != config:
        raise AssertionError("a written config reads otherwise")
    path.absolute().parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, text.encode())
