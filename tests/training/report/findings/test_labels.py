"""Labels: each near its point, none on another."""

from __future__ import annotations

import itertools

import numpy as np

from training.report.findings.labels import place_labels


def test_labels_of_a_crowd_do_not_lie_on_one_another_and_stay_within():
    random = np.random.default_rng(8)
    points = [(float(x), float(y)) for x, y in random.normal((200, 150), (40, 25), (14, 2))]
    texts = [f"network {place}" for place in range(14)]
    placed = place_labels(points, texts, (400, 300), size=9)
    boxes = [
        (at.x - 0.5 * 0.57 * 9 * len(text), at.y - 5, at.x + 0.5 * 0.57 * 9 * len(text), at.y + 5)
        for at, text in zip(placed, texts, strict=True)
    ]
    for one, other in itertools.combinations(boxes, 2):
        wide, high = (
            min(one[2], other[2]) - max(one[0], other[0]),
            min(one[3], other[3]) - max(one[1], other[1]),
        )
        assert wide <= 0 or high <= 0
    for box in boxes:
        assert box[0] >= 0
        assert box[2] <= 400
