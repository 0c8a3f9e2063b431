"""Buckets: calls of any size by a few shapes, with the predictions of a plain session, from many threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from model.bundle.inputs import NetworkInputs
from model.bundle.session import NetworkSession
from service.inference.buckets import BucketedSession, bucket_of

BUCKETS = (8, 32)


@pytest.fixture(scope="module")
def bundle(world):
    return world.load()


@pytest.fixture
def session(bundle) -> BucketedSession:
    return BucketedSession(bundle.network_path, ["CPUExecutionProvider"], 1, BUCKETS, "cpu")


def inputs_of(bundle, user: int, candidates: int) -> NetworkInputs:
    sample = bundle.sample.inputs
    rows = (np.arange(candidates) + user) % len(sample.row_to_user)
    return NetworkInputs(sample.user.take(np.array([user])), sample.item.take(rows), np.zeros_like(rows))


@pytest.mark.parametrize(("rows", "size"), [(1, 8), (8, 8), (9, 32), (32, 32), (33, 64), (65, 96)])
def test_rows_go_into_the_least_bucket_that_holds_them(rows, size):
    assert bucket_of(rows, BUCKETS) == size


def test_predictions_are_those_of_a_plain_session(bundle, session):
    plain = NetworkSession(bundle.network_path)
    for candidates in (1, 7, 8, 9, 31, 32, 33, 100, 1):
        inputs = inputs_of(bundle, candidates % 3, candidates)
        expected, found = plain.predict(inputs), session.predict(inputs)
        assert list(found) == list(expected)
        for task, predictions in found.items():
            np.testing.assert_allclose(predictions, expected[task], rtol=0, atol=1e-6)
    sample = bundle.sample
    for task, predictions in session.predict(sample.inputs).items():  # of many users
        np.testing.assert_allclose(predictions, sample.expected[task], rtol=0, atol=1e-6)


def test_calls_of_one_bucket_share_its_buffers(bundle, session):
    for candidates in (1, 3, 8, 9, 30):
        session.predict(inputs_of(bundle, 0, candidates))
    assert len(session._bound) == len(BUCKETS)


def test_an_answer_stays_what_it_was_when_the_next_call_uses_its_buffers(bundle, session):
    first = session.predict(inputs_of(bundle, 0, 5))
    kept = {task: predictions.copy() for task, predictions in first.items()}
    second = session.predict(inputs_of(bundle, 1, 5))
    assert any((second[task] != kept[task]).any() for task in kept)
    assert all((first[task] == kept[task]).all() for task in kept)


def test_calls_from_many_threads_get_their_own_predictions(bundle, session):
    users = len(bundle.sample.inputs.user)
    expected = [session.predict(inputs_of(bundle, user, 20)) for user in range(users)]

    def ask(user: int) -> bool:
        found = session.predict(inputs_of(bundle, user, 20))
        return all((found[task] == expected[user][task]).all() for task in found)

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(ask, [number % users for number in range(400)]))


def test_no_candidates_make_no_predictions(bundle, session):
    assert {len(values) for values in session.predict(bundle.sample.inputs.rows(0, 0)).values()} == {0}
