"""Rows in a file: what was written comes back, and every epoch goes through each row once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.encoding import EncodedRows
from model.errors import FulcrumError
from training.rows.batches import EncodedLog
from training.rows.row_cache import CachedRows, RowWriter

ROWS = 1000


def some_log(rows, seed=0):
    random = np.random.default_rng(seed)
    labels = random.random((rows, 2)).astype(np.float32)
    masks = random.random((rows, 2)) < 0.8
    labels[~masks] = 7.0
    return EncodedLog(
        EncodedRows(np.arange(rows)[:, None] + 2, random.normal(size=(rows, 2)).astype(np.float32)),
        EncodedRows(random.integers(0, 9, (rows, 3)), np.zeros((rows, 0), np.float32)),
        labels,
        masks,
        random.integers(-(2**60), 2**60, rows),
        np.zeros(rows, np.int64),
    )


@pytest.fixture
def cached(tmp_path):
    log, path = some_log(ROWS), tmp_path / "train.rows"
    writer = RowWriter(path, judged=True)
    for start in range(0, ROWS, 300):
        part = np.zeros(ROWS, bool)
        part[start : start + 300] = True
        writer.append(log.take(part))
    writer.close()

    def rows(**settings):
        return CachedRows(path, writer.layout, writer.rows, [0.5, 0.5], **settings)

    return log, rows


def ids(batches):
    return torch.cat([batch.user_ids[:, 0] for batch in batches]).tolist()


def shuffled(rows, seed=3, size=32, done=0):
    return list(rows.epoch(torch.Generator().manual_seed(seed), size, done))


def test_rows_come_back_as_they_were_written(cached):
    log, rows = cached
    cache = rows(block=64, buffer=256)
    parts = list(cache.slices(128))
    for name, expected in (
        ("user_ids", log.user.ids),
        ("user_numeric", log.user.numeric),
        ("item_ids", log.item.ids),
        ("item_numeric", log.item.numeric),
        ("masks", log.masks),
    ):
        assert np.array_equal(torch.cat([getattr(part, name) for part in parts]).numpy(), expected)
    labels = torch.cat([part.labels for part in parts]).numpy()
    assert np.array_equal(labels[log.masks], log.labels[log.masks])
    assert np.array_equal(cache.labels[log.masks], log.labels[log.masks])
    assert np.array_equal(cache.masks, log.masks)
    assert np.array_equal(cache.group, log.group)
    assert parts[0].user_ids.dtype == torch.int64
    sample = cache.sample(50)
    assert np.array_equal(sample.user.numeric, log.user.numeric[:50])


@pytest.mark.parametrize(("block", "buffer"), [(64, 256), (7, 100), (1, 1), (4096, 10), (64, 10_000)])
def test_an_epoch_has_every_row_once_in_whole_batches(cached, block, buffer):
    _, rows = cached
    batches = shuffled(rows(block=block, buffer=buffer))
    assert sorted(ids(batches)) == list(range(2, ROWS + 2))
    assert [len(batch) for batch in batches] == [32] * 31 + [8]


def test_each_epoch_has_another_order_and_the_same_seed_the_same(cached):
    _, rows = cached
    cache = rows(block=16, buffer=128)
    shuffler = torch.Generator().manual_seed(3)
    first, second = (ids(cache.epoch(shuffler, 32, 0)) for _ in range(2))
    assert first != second
    assert ids(shuffled(cache)) == first


def test_a_buffer_mixes_rows_from_all_over_the_log(cached):
    _, rows = cached
    found = np.array(ids(shuffled(rows(block=8, buffer=128)))) - 2
    # The first buffer's rows are of many distant blocks, and not in the order in which they lie.
    first = found[:128]
    assert np.abs(first.mean() - ROWS / 2) < 150
    assert first.max() - first.min() > 0.8 * ROWS
    assert np.abs(np.corrcoef(np.arange(128), first)[0, 1]) < 0.3


@pytest.mark.parametrize("done", [32, 128, 480, 992])
def test_an_epoch_goes_on_where_it_stopped_and_leaves_the_shuffler_where_it_would_be(cached, done):
    _, rows = cached
    cache = rows(block=16, buffer=100)
    whole = torch.Generator().manual_seed(3)
    expected = ids(cache.epoch(whole, 32, 0))[done:]
    resumed = torch.Generator().manual_seed(3)
    epoch = cache.epoch(resumed, 32, done)
    first = next(epoch)
    assert torch.equal(resumed.get_state(), whole.get_state())
    assert ids([first, *epoch]) == expected


def test_a_file_of_another_size_is_refused(cached, tmp_path):
    _, rows = cached
    with (tmp_path / "train.rows").open("ab") as file:
        file.write(b"more")
    with pytest.raises(FulcrumError, match=r"train\.rows: the rows of this run are missing or damaged"):
        rows(block=16, buffer=100)


def test_a_file_that_shrinks_under_a_training_is_an_error_not_other_rows(cached, tmp_path):
    _, rows = cached
    cache = rows(block=16, buffer=100)
    with (tmp_path / "train.rows").open("ab") as file:
        file.truncate(1000)
    with pytest.raises(FulcrumError, match="shorter than it was; start a new run"):
        shuffled(cache)
