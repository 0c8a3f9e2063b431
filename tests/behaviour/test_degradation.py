"""Whatever the feature store does, each request has its answer: in time, named, counted; then it heals."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import threading
import time
from collections import Counter

import httpx
import pytest

from model.redis_url import RedisUrl
from model.store.packed import open_tables
from service.ranking.ranker import share_of_features
from tests.support.faulty_proxy import FaultyProxy
from tests.support.redis_server import RedisServer
from tests.support.service_process import serving, wait_until
from training.publishing.redis_writer import RedisWriter

IDS = [f"v{row}" for row in range(300)]


@pytest.fixture
def filled(redis_server: RedisServer, world):
    """A Redis with the world's rows."""
    encoder = world.load().encoder
    tables = open_tables(world.features, encoder)[1]

    def publish() -> None:
        writer = RedisWriter(RedisUrl(redis_server.url), encoder)
        for name, ids in (
            ("users", [f"u{row}" for row in range(40)]),
            ("items", [f"v{row}" for row in range(800)]),
        ):
            table = tables[name]
            list(writer.write(name, ids, table.records[table.find(ids)]))
        writer.finish(changed=True)

    publish()
    redis_server.publish = publish
    return redis_server


@pytest.fixture
def proxy(filled):
    between = FaultyProxy(filled.port)
    between.slow_s = 5.0
    yield between
    between.close()


@pytest.fixture
def patience_ms() -> float:
    """Of the service with its feature store: short only where a test waits until it is over."""
    return 10_000.0


@pytest.fixture
def behind_proxy(serve, proxy, patience_ms):
    with serve(features=proxy.url, feature_cache_items=0, feature_timeout_ms=patience_ms) as served:
        yield served


def count(served, series: str) -> float:
    lines = served.http.get("/metrics").text.splitlines()
    return sum(float(line.removeprefix(series)) for line in lines if line.startswith(f"{series} "))


def heal(served, **body) -> dict:
    """The first answer that is whole."""
    asked = {"candidate_ids": IDS, **body}
    return wait_until(lambda: not (answer := served.rank(**asked))["degraded"] and answer)


def test_redis_and_the_folder_give_the_same_answer(serve, served, filled):
    with serve(features=filled.url, feature_timeout_ms=10_000) as other:
        for user in ("u1", "u7", "stranger"):
            asked = {"user_id": user, "candidate_ids": [*IDS, "new"], "top_k": 400, "explain": True}
            one, two = served.rank(**asked), other.rank(**asked)
            again = other.rank(**asked)  # from the cache
            assert one["items"] == two["items"] == again["items"]
            assert two["degraded"] == []
        hits, misses = (
            count(other, f'fulcrum_feature_cache_total{{outcome="{outcome}"}}') for outcome in ("hit", "miss")
        )
        assert (hits + misses, misses <= 301) == (6 * 301, True)


@pytest.mark.parametrize(
    ("fault", "reasons", "patience_ms"),
    [
        ("refuse", {"feature_store_unreachable"}, 10_000.0),
        ("reset", {"feature_store_unreachable"}, 10_000.0),
        ("hang", {"feature_store_timeout"}, 150.0),
        ("slow", {"feature_store_timeout"}, 150.0),
        ("cut", {"feature_store_unreachable"}, 10_000.0),
        ("garble", {"feature_store_unreachable", "feature_store_timeout", "feature_store_corrupt"}, 150.0),
    ],
)
def test_a_broken_way_to_redis_degrades_in_time_and_heals(behind_proxy, proxy, fault, reasons):
    served = behind_proxy
    whole = heal(served)
    proxy.fault = fault
    seen = Counter()
    for _ in range(15):
        answer = served.rank(candidate_ids=IDS, timeout_ms=30_000)
        assert answer["took_ms"] < 30_000  # while answers that hang never come
        assert (answer["scored"], len(answer["items"])) == (300, 50)
        seen.update(answer["degraded"])
        if "feature_store_corrupt" not in answer["degraded"]:
            assert {item["status"] for item in answer["items"]} == {"default_features"}
    assert set(seen) <= reasons
    assert sum(seen.values()) == 15
    for reason, times in seen.items():
        assert count(served, f'fulcrum_rank_degraded_total{{reason="{reason}"}}') == times
    assert served.http.get("/readyz").status_code == 200
    proxy.fault = "none"
    assert heal(served)["items"] == whole["items"]


def test_a_hanging_redis_takes_at_most_its_share_of_a_deadline(serve, proxy):
    with serve(features=proxy.url, feature_timeout_ms=10_000, feature_cache_items=0) as served:
        heal(served)
        proxy.fault = "hang"
        answer = served.rank(candidate_ids=IDS, timeout_ms=2_000)
        assert answer["degraded"] == ["feature_store_timeout"]
        assert (answer["scored"], 950 < answer["took_ms"] < 2_000) == (300, True)
        proxy.fault = "none"
        heal(served)


def test_a_hanging_redis_leaves_time_to_score_of_the_shortest_deadlines():
    shares = {left_s: share_of_features(left_s) for left_s in (0.0, 0.003, 0.006, 0.008, 0.1)}
    assert shares == pytest.approx({0.0: 0.0, 0.003: 0.0024, 0.006: 0.0048, 0.008: 0.005, 0.1: 0.05})


@pytest.mark.parametrize(
    ("fault", "reason"), [("refuse", "feature_store_unreachable"), ("hang", "feature_store_timeout")]
)
def test_a_service_that_starts_without_redis_answers_by_default_features_and_heals(
    serve, proxy, fault, reason, monkeypatch
):
    monkeypatch.setattr("service.features.redis_link._CHECK_S", 0.3)
    proxy.fault = fault
    with serve(features=proxy.url, feature_timeout_ms=150 if fault == "hang" else 10_000) as served:
        answer = served.rank(candidate_ids=IDS)
        assert (answer["degraded"], answer["scored"]) == ([reason], 300)
        report = served.http.get("/readyz").json()
        assert (report["features"], report["generations"]) == ("away", {"none": 1})
        proxy.fault = "none"
        assert {item["status"] for item in heal(served)["items"]} == {"ok"}
        report = wait_until(
            lambda: (found := served.http.get("/readyz").json())["features"] == "reachable" and found
        )
        assert "none" not in report["generations"]


def test_a_worker_that_dies_while_redis_is_away_is_replaced_all_the_same(proxy, world, tmp_path):
    settings = {"bundle": world.bundle, "features": proxy.url, "workers": 2}
    with serving(tmp_path / "log", **settings) as service:

        def ready() -> dict:
            return httpx.get(f"{service.url}/readyz").json()

        (generation,) = ready()["generations"]
        proxy.fault = "refuse"
        os.kill(service.workers()[0], signal.SIGKILL)
        replaced = {"wanted": 2, "ready": 2, "replaced": 1}
        report = wait_until(lambda: (found := ready())["workers"] == replaced and found)
        assert report["generations"] == {generation: 1, "none": 1}
        proxy.fault = "none"
        wait_until(lambda: ready()["generations"] == {generation: 2})
    assert len(service.events("worker_died")) == 1


def test_default_features_are_those_of_strangers(behind_proxy, proxy):
    """An unreachable store ranks as if it knew nobody."""
    strangers = behind_proxy.rank(user_id="?", candidate_ids=[f"x{row}" for row in range(50)])
    proxy.fault = "refuse"
    blind = behind_proxy.rank(candidate_ids=IDS[:50])
    assert blind["degraded"] == ["feature_store_unreachable"]
    for one, other in zip(blind["items"], strangers["items"], strict=True):
        assert one["predictions"] == pytest.approx(other["predictions"])


def test_the_requests_own_features_count_all_the_same(behind_proxy, proxy):
    proxy.fault = "refuse"
    candidates = [{"id": "v1", "features": {"likes": 5}}, {"id": "v2", "video_len": 12.5}]
    answer = behind_proxy.rank(candidates=candidates, explain=True, user_features={"age": 30})
    one, other = answer["items"]
    assert one["predictions"] != other["predictions"]
    assert {item["terms"]["video_len"]["video_len"] for item in answer["items"]} == {None, 12.5}


def test_a_flush_is_named_and_publishing_heals_it_without_a_restart(serve, filled):
    with serve(features=filled.url, feature_timeout_ms=10_000) as served:
        served.rank(candidate_ids=["v1"])
        filled.client.flushall()
        answer = served.rank(candidate_ids=IDS)
        assert (answer["degraded"], answer["scored"]) == (["feature_store_missing"], 300)
        assert served.http.get("/readyz").status_code == 200
        filled.publish()
        assert {item["status"] for item in heal(served)["items"]} == {"ok"}


def test_one_damaged_row_costs_its_own_candidate_alone(serve, filled, world):
    key = f"fulcrum:{world.load().encoder.fingerprint}:i:v2"
    filled.client.set(key, filled.client.get(key)[:-3])
    with serve(features=filled.url, feature_timeout_ms=10_000) as served:
        answer = served.rank(candidate_ids=["v1", "v2", "v3"])
        assert answer["degraded"] == ["feature_store_corrupt"]
        status = {item["id"]: item["status"] for item in answer["items"]}
        assert status == {"v1": "ok", "v2": "default_features", "v3": "ok"}


@pytest.mark.parametrize("patience_ms", [150.0], ids=["impatient"])
def test_callers_of_every_kind_at_once_get_their_own_answers_while_the_way_breaks(behind_proxy, proxy):
    """Each answer without a failure is the one that the caller gets alone."""
    alone = {}
    for user in range(8):
        answer = heal(behind_proxy, user_id=f"u{user}", candidate_ids=IDS[user : user + 40])
        alone[user] = answer["items"]
    wrong, statuses, stop = [], Counter(), threading.Event()

    def ask(user: int) -> None:
        while not stop.is_set():
            body = {"user_id": f"u{user}", "candidate_ids": IDS[user : user + 40]}
            answer = behind_proxy.http.post("/v1/rank", json=body)
            statuses[answer.status_code] += 1
            whole = answer.status_code == 200 and not answer.json()["degraded"]
            if whole and answer.json()["items"] != alone[user]:
                wrong.append((user, answer.json()))

    callers = [threading.Thread(target=ask, args=(user,)) for user in range(8)]
    for caller in callers:
        caller.start()
    for fault in ("garble", "none", "cut", "slow", "none", "reset", "refuse", "none"):
        proxy.fault = fault
        time.sleep(0.3)
    stop.set()
    for caller in callers:
        caller.join()
    assert wrong == []
    assert set(statuses) == {200}
    heal(behind_proxy)


def test_a_storm_of_callers_who_leave_spoils_nobody_elses_answer(behind_proxy, proxy):
    """Each whole answer is, to the last digit, the one that its caller gets in peace."""
    alone = {user: heal(behind_proxy, user_id=f"u{user}", candidate_ids=IDS[user:60]) for user in range(4)}
    proxy.fault, proxy.slow_s = "slow", 0.01
    wrong, whole, stop = [], Counter(), threading.Event()
    address = ("127.0.0.1", behind_proxy.http.base_url.port)

    def leave(seed: int) -> None:
        draw = random.Random(seed)
        while not stop.is_set():
            body = json.dumps({"user_id": f"u{draw.randrange(40)}", "candidate_ids": draw.sample(IDS, 100)})
            head = f"POST /v1/rank HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
            with socket.create_connection(address) as caller:
                caller.sendall((head + body).encode())
                time.sleep(draw.uniform(0, 0.02))

    def check(user: int) -> None:
        while not stop.is_set():
            body = {"user_id": f"u{user}", "candidate_ids": IDS[user:60]}
            answer = behind_proxy.http.post("/v1/rank", json=body).json()
            whole[user] += not answer["degraded"]
            if not answer["degraded"] and answer["items"] != alone[user]["items"]:
                wrong.append(answer)

    threads = [threading.Thread(target=leave, args=(seed,)) for seed in range(4)]
    threads += [threading.Thread(target=check, args=(user,)) for user in alone]
    for thread in threads:
        thread.start()
    left = 'fulcrum_requests_total{route="/v1/rank",status="499"}'
    try:
        wait_until(lambda: sum(whole.values()) > 100 and count(behind_proxy, left) > 50)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert wrong == []
    proxy.fault = "none"
    heal(behind_proxy)
