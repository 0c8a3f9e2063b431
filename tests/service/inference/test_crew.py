"""The crew: rows of an inference on as many cores as are idle, with the predictions of one core."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from model.bundle.inputs import NetworkInputs
from model.bundle.session import NetworkSession
from model.encoding import EncodedRows
from service.inference.crew import Crew
from service.inference.engine import Engine, EngineOptions


@pytest.fixture
def crew():
    crew = Crew(4)
    yield crew
    crew.close()


@pytest.fixture(scope="module")
def bundle(world):
    return world.load()


def numbered(rows: int) -> NetworkInputs:
    """Candidates whose ids are their places."""
    item = EncodedRows(np.arange(rows).reshape(rows, 1), np.zeros((rows, 0), np.float32))
    user = EncodedRows(np.zeros((1, 1), np.int64), np.zeros((1, 0), np.float32))
    return NetworkInputs(user, item, np.zeros(rows, np.int64))


class Recorded:
    """A network that gives each candidate its id, and remembers which rows came together, and where."""

    def __init__(self, meeting: threading.Barrier | None = None) -> None:
        self.calls: list[tuple[int, int]] = []
        self.threads: set[int] = set()
        self._meeting = meeting

    def __call__(self, inputs: NetworkInputs) -> dict[str, np.ndarray]:
        if self._meeting is not None:
            self._meeting.wait(60)
        ids = inputs.item.ids[:, 0]
        self.calls.append((int(ids[0]), len(ids)))
        self.threads.add(threading.get_ident())
        return {"vtr": ids.astype(np.float32)}


@pytest.mark.parametrize("rows", [1, 31, 63, 64, 65, 97, 128, 500, 501, 5000])
def test_every_row_is_scored_once_and_in_its_place(crew, rows):
    network = Recorded()
    np.testing.assert_array_equal(crew.run(network, numbered(rows))["vtr"], np.arange(rows))
    assert sum(count for _, count in network.calls) == rows
    assert len(network.calls) == min(4, max(1, rows // 32))
    assert min(count for _, count in network.calls) >= min(rows, 16)


def test_idle_cores_work_at_the_same_time(crew):
    together = Recorded(threading.Barrier(4))  # which nobody passes alone
    crew.run(together, numbered(500))
    assert len(together.threads) == 4


def test_only_idle_cores_take_parts(crew):
    at_work, release = threading.Semaphore(0), threading.Event()

    def busy(inputs: NetworkInputs) -> dict[str, np.ndarray]:
        at_work.release()
        release.wait(60)
        return Recorded()(inputs)

    with ThreadPoolExecutor(3) as callers:
        for idle in (3, 2, 1):
            callers.submit(crew.run, busy, numbered(20))
            at_work.acquire(timeout=60)
            network = Recorded()
            crew.run(network, numbered(500))
            assert len(network.calls) == idle
        release.set()
    network = Recorded()
    crew.run(network, numbered(500))
    assert len(network.calls) == 4


def test_one_core_parts_nothing():
    network = Recorded()
    Crew(1).run(network, numbered(500))
    assert network.calls == [(0, 500)]


@pytest.mark.parametrize("place", [0, 400])
def test_an_error_in_any_part_is_the_callers_and_the_cores_are_free_again(crew, place):
    def failing(inputs: NetworkInputs) -> dict[str, np.ndarray]:
        if place in inputs.item.ids[:, 0]:
            raise ValueError("no")
        return Recorded()(inputs)

    with pytest.raises(ValueError, match="no"):
        crew.run(failing, numbered(500))
    network = Recorded()
    crew.run(network, numbered(500))
    assert len(network.calls) == 4


def test_many_callers_get_the_predictions_of_one_core(bundle, crew):
    engine = Engine.load(bundle, EngineOptions(threads=4, crew=crew))
    sample = bundle.sample.inputs
    sizes = [1, 40, 100, 333, 500]
    asked = {
        size: NetworkInputs(
            sample.user.take(np.zeros(1, np.int64)),
            sample.item.take(np.resize(np.arange(40), size)),
            np.zeros(size, np.int64),
        )
        for size in sizes
    }
    plain = NetworkSession(bundle.network_path)
    expected = {size: plain.predict(inputs) for size, inputs in asked.items()}

    def ask(number: int) -> None:
        size = sizes[number % len(sizes)]
        for task, predictions in engine.predict(asked[size]).items():
            np.testing.assert_allclose(predictions, expected[size][task], rtol=0, atol=1e-6)

    with ThreadPoolExecutor(6) as callers:
        list(callers.map(ask, range(120)))
