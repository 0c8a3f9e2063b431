"""The helper's first steps: it gives way before it imports what takes time.

python -m service.preview PARENT BYTES      with one end of a pair of sockets as standard input
"""

from __future__ import annotations

import signal
import sys

from service.processes.bounds import bound_memory, end_with, give_way


def _main(parent: str, memory: str) -> None:
    end_with(int(parent), signal.SIGKILL)
    give_way()
    from service.preview.helper import serve

    bound_memory(int(memory))
    serve()


if __name__ == "__main__":
    _main(*sys.argv[1:3])
