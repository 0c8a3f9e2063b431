"""Answers to replay: a config with every formula, requests that meet all of it, and what was answered."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from model.fusion import parse_fusion
from model.learned_fusion import LearnedNetwork
from tests.support.learned_networks import INPUTS, monotone
from training.tuning.joined_log import JoinedLog
from training.tuning.replay import Replay

CONFIG = """
schema_version: 1
scenes:
  default:
    tasks: {vtr: {weight: 1.0}, vcr: {weight: 0.5, smoothing: 0.2}, shr: {weight: 0.3}, cmr: {weight: 0.2}}
    video_len: {kind: log, scale_s: 30.0, weight: 1.0, missing: 0.7}
    explore: {share: 1.0, noise: 0.2}
  feed:
    base: default
    tasks: {vtr: {weight: 2.0}, shr: {weight: -0.5}}
    explore: {share: 0.5, noise: 0.2, unit: session}
    segments:
      - {name: evening, when: {hour: {from: 18, below: 24}}, tasks: {shr: {weight: 1.5}}}
      - {name: tabs, when: {tab: ["1", true]}, video_len: {weight: 0.1}}
  worth:
    formula: weighted_sum
    tasks: {vcr: {price: 0.05, price_per_s: 0.02}, shr: {price: 15.0}, cmr: {price: 12.0, a: 0.1, b: 0.8}}
    combine: plus
    video_len: {kind: sigmoid, mid_s: 20.0, width_s: 5.0, weight: 0.3}
    calibration:
      shr:
        map: {kind: platt, a: -0.1, b: 0.9}
        segments:
          - {when: {video_len_s: {below: 40}}, map: {kind: isotonic, points: [[0.0, 0.0], [1.0, 0.9]]}}
          - {when: {hour: {from: 12}}, map: {kind: platt, a: 0.5}}
    segments: [{name: morning, when: {hour: {below: 12}}, tasks: {shr: {price: 3.0}}}]
    explore: {share: 1.0, noise: 0.2, unit: user_week}
  times:
    base: worth
    combine: times
    explore: {share: 0.3, noise: 0.5}
  ranks:
    formula: rank_ensemble
    tasks: {vtr: {weight: 1.0}, shr: {weight: 2.0}}
    video_len: {kind: table, edges_s: [7, 30], values: [0.5, 1.0, 0.8], weight: 0.5}
    segments: [{name: evening, when: {hour: {from: 18}}, tasks: {cmr: {weight: 1.0}}}]
    explore: {share: 1.0, noise: 0.2}
  plain: {base: default, explore: {share: 1.0, noise: 0.1}}
  learned: {formula: model, file: score.onnx, sha256: SHA256, inputs: INPUTS, fallback: plain}
"""
NETWORK = monotone()
CONFIG = CONFIG.replace("SHA256", hashlib.sha256(NETWORK).hexdigest()).replace("INPUTS", str(list(INPUTS)))
SCENES = ("default", "feed", "worth", "times", "ranks", "learned", "nowhere")


def requests(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Requests of all scenes and segments; a tenth has candidates that no time is left for."""
    chance = random.Random(seed)
    return [
        {
            "user_id": f"u{chance.randrange(60)}",
            "session_id": f"s{chance.randrange(30)}",
            "scene": chance.choice(SCENES),
            "candidate_ids": [f"v{item}" for item in chance.sample(range(850), chance.randint(1, 60))],
            "top_k": chance.choice([1, 10, 100]),
            "context": {
                "tab": chance.choice(["1", "2"]),
                "hour": chance.choice([chance.randrange(24), float(chance.randrange(24)), None]),
            },
        }
        if chance.random() > 0.1
        else {
            "user_id": "u1",
            "scene": chance.choice(SCENES),
            "candidate_ids": [f"v{item}" for item in chance.sample(range(850), 700)],
            "top_k": 700,
            "timeout_ms": 0.5,
        }
        for _ in range(count)
    ]


def answered(url: str, bodies: Sequence[Mapping[str, Any]], callers: int = 4) -> dict[str, list[str]]:
    """The items of each answer in their order, by its exposure id."""

    def call(some: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
        # A connection each, so that all workers get some.
        with httpx.Client(timeout=60, limits=httpx.Limits(max_keepalive_connections=0)) as http:
            found = {}
            for body in some:
                reply = http.post(f"{url}/v1/rank", json=body)
                if reply.status_code == 503:  # no time, on a busy machine
                    patient = {name: value for name, value in body.items() if name != "timeout_ms"}
                    reply = http.post(f"{url}/v1/rank", json=patient)
                answer = reply.raise_for_status().json()
                found[answer["exposure_id"]] = [item["id"] for item in answer["items"]]
            return found

    with ThreadPoolExecutor(callers) as pool:
        parts = pool.map(call, [bodies[caller::callers] for caller in range(callers)])
        return {identity: items for part in parts for identity, items in part.items()}


def replayed_wrong(out: Path, answers: Mapping[str, Sequence[str]]) -> tuple[int, int, int]:
    """Of a joined log: answers that were replayed, those of another order, those of other weights."""
    log = JoinedLog(out)
    assert log.newest() == parse_fusion(CONFIG)
    networks = {hashlib.sha256(NETWORK).hexdigest(): LearnedNetwork(NETWORK, len(INPUTS))}
    replay = Replay(log.newest(), log.tasks, scorers=networks)  # as the log holds it: in another order
    seen = wrong = other_weights = 0
    for batch in log.batches(replay.needs, rows=5_000):
        found = replay.of(batch)
        names = np.array(log.items.names, np.object_)[batch.item[found.order]]
        other = np.zeros(len(batch), np.bool_)
        for term, weights in batch.weights.items():
            other |= weights != found.weights[term]
        other_weights += int(np.count_nonzero(other | (batch.explored != found.explored)))
        for row, identity in enumerate(batch.ids):
            items = list(answers[identity])
            order = names[batch.start[row] : batch.start[row + 1]].tolist()
            wrong += order[: len(items)] != items
            seen += 1
    return seen, wrong, other_weights
