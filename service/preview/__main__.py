"""The helper's first steps: it gives way before it imports what takes time.

python -m service.preview PARENT BYTES PRIORITY      idle or normal; a socket is its standard input
"""

from __future__ import annotations

import signal
import sys

from service.processes.bounds import bound_memory, end_with, give_way


def _main(parent: str, memory: str, priority: str) -> None:
    end_with(int(parent), signal.SIGKILL)
    if priority == "idle":
        give_way()
    from service.preview.answering import serve

    bound_memory(int(memory))
    serve()


if __name__ == "__main__":
    _main(*sys.argv[1:4])
