"""Rankings by a learned formula over real HTTP: its scores, their terms, and what ranks where it cannot."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator

import numpy as np
import pytest
import yaml

from model.fusion import explain, parse_fusion
from model.learned_fusion import LearnedNetwork
from tests.support.learned_networks import INPUTS, Graph, filled, learned_config, monotone

pytestmark = pytest.mark.slow

IDS = [f"v{number}" for number in range(40)]


def in_force(served, content: bytes) -> None:
    """Put a network and the config that names it into force."""
    name = f"{hashlib.sha256(content).hexdigest()[:8]}.onnx"
    (served.fusion.parent / name).write_bytes(content)
    served.fusion.write_text(yaml.safe_dump(learned_config(content, file=name)))
    deadline = time.monotonic() + 60.0
    while True:
        report = served.http.get("/v1/fusion").json()
        if report["config"]["scenes"].get("learned", {}).get("file") == name:
            return
        assert report["rejected"] is None, report["rejected"]
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def learned(serve) -> Iterator:
    """A service whose fusion file took a network while it ran."""
    with serve() as served:
        in_force(served, monotone())
        yield served


def inputs_of(items) -> np.ndarray:
    """What the network took, as far as the answer says it."""
    columns = [[item["predictions"][task] for item in items] for task in INPUTS[:-1]]
    lengths = [item["terms"]["video_len"]["video_len"] for item in items]
    return np.array([*columns, [np.nan if s is None else s for s in lengths]], np.float32).T.copy()


def test_candidates_come_by_the_networks_scores_whose_terms_sum_to_them(learned):
    answer = learned.rank(scene="learned", candidate_ids=IDS, top_k=40, explain=True)
    items = answer["items"]
    assert (answer["fusion"]["scene"], answer["degraded"]) == ("learned", [])
    scores = [item["score"] for item in items]
    assert scores == sorted(scores, reverse=True)
    expected = LearnedNetwork(monotone(), len(INPUTS))(inputs_of(items))
    np.testing.assert_allclose(scores, expected, rtol=1e-6)
    for item in items:
        assert item["log_score"] is None
        assert list(item["terms"]) == ["base", *INPUTS[:-1], "video_len"]
        assert sum(term["term"] for term in item["terms"].values()) == item["score"]
    plain = learned.rank(scene="learned", candidate_ids=IDS, top_k=40)
    assert [(item["id"], item["score"]) for item in plain["items"]] == [
        (item["id"], item["score"]) for item in items
    ]


def fallen_back(learned, failure: str, **body) -> None:
    """The answer is that of the scene `product`, and says why."""
    answer = learned.rank(scene="learned", candidate_ids=IDS, top_k=40, explain=True, **body)
    assert (answer["degraded"], answer["fusion"]["scene"]) == ([failure], "product")
    items = answer["items"]
    scene = parse_fusion(str(learned_config(b""))).scenes["product"]
    p = {task: np.array([item["predictions"][task] for item in items]) for task in INPUTS[:-1]}
    assert [item["score"] for item in items] == explain(scene, p, np.full(40, np.nan)).fused.score.tolist()
    by_itself = learned.rank(scene="product", candidate_ids=IDS, top_k=40)
    assert [item["id"] for item in by_itself["items"]] == [item["id"] for item in items]


def test_without_time_for_the_network_its_fallback_ranks(learned, monkeypatch):
    """Explaining takes the network once more for each of its five inputs."""
    monkeypatch.setattr(LearnedNetwork, "expected_s", lambda network, candidates: 15.0)
    fallen_back(learned, "fusion_model_deadline", timeout_ms=60_000)
    for in_time in ({"timeout_ms": 60_000}, {"explain": True}):
        assert learned.rank(scene="learned", candidate_ids=IDS, **in_time)["degraded"] == []


def test_a_network_that_fails_on_a_candidate_leaves_the_request_to_its_fallback(serve):
    with serve() as served:
        (item,) = served.rank(candidate_ids=["v7"], fields=["predictions"])["items"]
        graph = Graph()
        vtr = graph("Gather", ["x", graph.constant([0], np.int64)], axis=1)
        # No number for exactly this prediction, which no proof on random rows meets.
        same = graph("Equal", [vtr, graph.constant(item["predictions"]["vtr"])])
        sums = graph("ReduceSum", [filled(graph), graph.constant([1], np.int64)], keepdims=1)
        in_force(served, graph.finish(graph("Where", [same, graph.constant(np.nan), sums])))
        fallen_back(served, "fusion_model_failed")
        fine = served.rank(scene="learned", candidate_ids=[one for one in IDS if one != "v7"])
        assert (fine["degraded"], fine["fusion"]["scene"]) == ([], "learned")
