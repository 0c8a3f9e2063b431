"""Trial of a learned formula's network in a process of its own: whether it can be opened, and may rank.

    python -m service.control.fusion.trial INPUTS SECONDS BYTES < NETWORK

takes the names of its inputs as JSON. Tries the same rows for the same network.
"""

from __future__ import annotations

import hashlib
import sys

import orjson

from model.fusion import FusionError
from model.learned_fusion import LearnedNetwork, PaceError, prove
from service.processes.bounds import FAILED, UNFIT, bound_memory, bound_time


def _main(inputs: str, seconds: str, memory: str) -> int:
    bound_time(float(seconds))
    content, names = sys.stdin.buffer.read(), orjson.loads(inputs)
    bound_memory(int(memory))
    try:
        prove(LearnedNetwork(content, len(names)), names, int(hashlib.sha256(content).hexdigest(), 16))
    except FusionError as error:
        sys.stdout.write(f"{error}\n")
        return FAILED if isinstance(error, PaceError) else UNFIT
    return 0


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:4]))
