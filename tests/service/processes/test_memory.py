"""Memory goes back to the system, on any C library."""

from __future__ import annotations

import gc
import weakref

import pytest

from service.processes import memory


class Node:
    pass


def test_cycles_are_collected():
    node = Node()
    node.itself = node
    gone = weakref.ref(node)
    gc.disable()
    try:
        del node
        assert gone() is not None
        memory.tidy()
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("work", [memory.tidy, memory.trim, memory.bound_heaps])
@pytest.mark.parametrize("error", [AttributeError, OSError])
def test_another_c_library_is_no_obstacle(monkeypatch, work, error):
    asked = []

    def missing(_):
        asked.append(1)
        raise error

    monkeypatch.setattr(memory.ctypes, "CDLL", missing)
    work()
    assert asked  # once at least: a service of this session may tidy up meanwhile


@pytest.mark.parametrize(
    ("line", "file", "limits"),
    [
        ("0::/kube/pod", "memory.max", ("max", str(3 << 20))),
        ("0::/kube/pod", "memory.max", (str(3 << 20), str(4 << 20))),
        ("4:memory:/kube/pod", "memory/memory.limit_in_bytes", (str(1 << 62), str(3 << 20))),
    ],
)
def test_the_containers_memory_is_the_tightest_limit_on_the_way_up(tmp_path, line, file, limits):
    root = (tmp_path / file).parent
    (root / "kube/pod").mkdir(parents=True)
    for folder, limit in zip((root, root / "kube/pod"), limits, strict=True):
        (folder / file.rpartition("/")[2]).write_text(f"{limit}\n")
    own = tmp_path / "own"
    own.write_text(f"{line}\n")
    assert memory.memory_limit(tmp_path, own) == 3 << 20


def test_without_a_limit_it_is_the_machines_memory(tmp_path):
    assert memory.memory_limit(tmp_path, tmp_path / "absent") == memory.memory_limit(tmp_path, tmp_path)
    assert memory.memory_limit(tmp_path, tmp_path / "absent") > 1 << 28
