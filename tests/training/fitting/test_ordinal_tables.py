"""Thresholds from training rows: quantiles of the label among videos of like length."""

from __future__ import annotations

import numpy as np
import pytest

from training.fitting.ordinal_tables import fit_tables


def rows(count=40_000):
    """Lengths, and labels that fall with them: uniform up to 1 for short videos, up to .25 for long ones."""
    random = np.random.default_rng(4)
    lengths = random.normal(size=count).astype(np.float32)
    most = np.where(lengths < 0, 1.0, 0.25)
    return (random.random(count) * most).astype(np.float32), lengths


def test_a_bin_holds_as_many_rows_as_another_and_its_thresholds_are_its_own_quantiles():
    labels, lengths = rows()
    tables = fit_tables(labels, lengths, thresholds=4, bins=2)
    assert tables.edges == pytest.approx([0.0], abs=0.02)
    assert tables.reached[0] == pytest.approx([0.2, 0.4, 0.6, 0.8], abs=0.02)
    assert tables.reached[1] == pytest.approx([0.05, 0.1, 0.15, 0.2], abs=0.01)
    assert tables.rates == pytest.approx([0.8, 0.6, 0.4, 0.2], abs=0.01)


@pytest.mark.parametrize(("thresholds", "bins"), [(1, 1), (16, 8), (64, 3)])
def test_answering_by_the_rates_alone_predicts_each_bins_mean(thresholds, bins):
    labels, lengths = rows()
    labels = np.where(labels > 0.6, 1.0, labels).astype(np.float32)
    tables = fit_tables(labels, lengths, thresholds, bins)
    place = np.searchsorted(tables.edges, lengths, side="right")
    for number in range(bins):
        own = labels[place == number]
        rates = (own[:, None] >= tables.reached[number]).mean(axis=0)
        predicted = tables.floor[number, 0] + (rates * tables.steps[number]).sum()
        assert predicted == pytest.approx(own.mean(), abs=1e-5)
        assert tables.floor[number, 0] >= own.min()
        assert tables.floor[number, 0] + tables.steps[number].sum() <= own.max() + 1e-6


def test_where_labels_are_alike_no_question_is_asked_twice_or_in_vain():
    labels = np.repeat(np.float32([0.0, 0.5, 1.0]), [300, 100, 600])
    tables = fit_tables(labels, np.zeros(1000, np.float32), thresholds=9, bins=4)
    asked = np.isfinite(tables.reached[0])
    assert tables.reached[0, asked].tolist() == [0.5, 1.0]
    assert tables.steps[0, asked].tolist() == [0.5, 0.5]
    assert not tables.steps[0, ~asked].any()
    # One length alone is one bin.
    assert np.isinf(tables.edges).all()
    # Every other column is asked of no row.
    assert np.isnan(tables.rates[~asked]).all()
    assert tables.rates[asked].tolist() == pytest.approx([0.7, 0.6])


def test_an_edge_stands_between_two_lengths():
    lengths = np.repeat(np.float32([1.0, 2.0, 4.0]), 100)
    edges = fit_tables(np.linspace(0, 1, 300, dtype=np.float32), lengths, thresholds=2, bins=3).edges
    assert edges.tolist() == [1.5, 3.0]
