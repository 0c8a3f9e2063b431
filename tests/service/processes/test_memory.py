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
