import sys
import time
from pathlib import Path

import pytest

from benchmarks.serving.process_tree import ProcessTree
from tests.support.service_process import wait_until

# The first starts a second that starts a third and ends at once: an orphan, which counts.
PROGRAM = """
import subprocess, sys, time
third = "import time\\nwhile True: print(1, flush=True); time.sleep(0.005)"
second = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {third!r}])"
subprocess.run([sys.executable, "-c", second])
time.sleep(60)
"""


@pytest.mark.slow
def test_orphans_belong_to_the_tree_freeze_with_it_and_end_with_it(tmp_path: Path):
    log = tmp_path / "log"
    tree = ProcessTree([sys.executable, "-c", PROGRAM], {0}, {}, tmp_path, log)
    try:
        wait_until(lambda: len(tree.members()) == 2 and log.stat().st_size > 10)
        members = tree.members()
        assert tree.private_bytes() > 0
        tree.freeze()
        time.sleep(0.1)
        frozen_at = log.stat().st_size
        time.sleep(0.2)
        assert log.stat().st_size == frozen_at
        tree.thaw()
        wait_until(lambda: log.stat().st_size > frozen_at)
    finally:
        tree.stop(within_s=60.0)
    wait_until(lambda: not any(_alive(pid) for pid in members))
    assert tree.ended


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
