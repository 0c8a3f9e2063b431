"""What is kept of answers, over real HTTP: the record of each, as it was answered and no other."""

from __future__ import annotations

import asyncio
import time

import httpx
import numpy as np
import orjson
import pytest
from structlog.testing import capture_logs

from model.events import EventFolder
from model.events.exposures import unit_hash
from model.events.pseudonym import pseudonym
from model.fusion import load_fusion, version
from model.store.packed import PackedLayout, open_tables
from service.http.app import create_app
from service.ranking.exposure_id import new_exposure_id, time_ms_of
from service.ranking.exposures import Sampling
from service.settings import Settings
from tests.support.exposures import exposure_rows
from tests.support.service_process import wait_until

IDS = [f"v{place}" for place in range(300)]
TASKS = ("vtr", "vcr", "shr", "cmr")
ALL = {"exposure_candidates": 1.0, "exposure_rows": 1.0, "events_interval_ms": 20}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("kept") / "events"


@pytest.fixture(scope="module")
def keeping(serve, watched, home):
    """A service that keeps everything."""
    with serve(bundle=watched.bundle, events=home, **ALL) as running:
        yield running


@pytest.fixture
def kept(keeping, home):
    """`kept(**body)`: an answer, and its record."""

    def ask(**body):
        answer = keeping.rank(**body)
        return answer, wait_until(lambda: _record(home, answer))

    return ask


def _record(home, answer):
    return next((row for row in exposure_rows(home) if row["exposure_id"] == answer["exposure_id"]), None)


def test_the_record_is_of_the_answer(kept, watched):
    before = time.time_ns() // 1_000_000
    answer, row = kept(request_id="r-1", user_id="u3", candidate_ids=IDS, top_k=20, context={"tab": "1"})
    assert row["items"] == [item["id"] for item in answer["items"]]
    assert (row["request_id"], row["user_id"], row["scene"]) == ("r-1", "u3", "default")
    assert row["unit_hash"] == unit_hash("", "", "u3")
    assert (row["bundle_version"], row["variant"]) == (answer["model"]["version"], "fp32")
    assert (row["fusion_version"], row["revision"]) == (answer["fusion"]["version"], None)
    assert before <= row["time_ms"] == time_ms_of(answer["exposure_id"]) <= time.time_ns() // 1_000_000
    assert orjson.loads(row["context"]) == {"tab": "1"}
    assert (row["arms"], row["explored"], row["degraded"]) == ([], False, [])
    weights = {"vtr": 1.0, "vcr": 0.5, "shr": 0.3, "cmr": 0.2, "video_len": 1.0}
    assert {name: row[f"w_{name}"] for name in weights} == weights


def test_predictions_are_the_answers_to_the_bit_in_the_requests_order(kept):
    ids = IDS[::-1]
    answer, row = kept(candidate_ids=ids, top_k=300)
    assert row["candidates"] == ids
    place = {item: number for number, item in enumerate(ids)}
    for item in answer["items"]:
        for task, p in item["predictions"].items():
            assert np.float32(row[f"p_{task}"][place[item["id"]]]) == np.float32(p)


def test_lengths_are_those_that_the_formula_took(kept):
    candidates = [{"id": "v1", "video_len": 31.5}, {"id": "v2"}, {"id": "new"}]
    answer, row = kept(candidates=candidates, explain=True)
    taken = {item["id"]: item["terms"]["video_len"]["video_len"] for item in answer["items"]}
    assert dict(zip(row["candidates"], row["candidate_len_s"], strict=True)) == pytest.approx(
        {name: np.nan if length is None else length for name, length in taken.items()}, nan_ok=True
    )
    assert dict(zip(row["items"], row["item_len_s"], strict=True)) == pytest.approx(
        {name: np.nan if length is None else length for name, length in taken.items()}, nan_ok=True
    )
    assert row["candidate_len_s"][0] == 31.5


def test_a_scene_is_kept_with_its_own_weights(kept):
    _, row = kept(candidate_ids=IDS[:3], scene="feed")
    assert (row["scene"], row["w_vtr"], row["w_vcr"], row["w_shr"]) == ("feed", 2.0, 0.0, -0.5)
    _, row = kept(candidate_ids=IDS[:3], scene="nowhere")
    assert (row["scene"], row["degraded"]) == ("default", ["unknown_scene"])


def test_packed_rows_are_the_stores(kept, world):
    encoder = world.load().encoder
    generation, tables = open_tables(world.features, encoder)
    _, row = kept(user_id="u5", candidate_ids=IDS)
    assert row["generation"] == generation
    assert row["user_row"] == tables["users"].records[tables["users"].find(["u5"])].tobytes()
    assert row["item_rows"] == tables["items"].records[tables["items"].find(IDS)].tobytes()


def test_packed_rows_are_what_the_network_took_where_the_request_says_otherwise(kept, world):
    encoder = world.load().encoder
    _, plain = kept(user_id="u5", candidate_ids=["v1", "v2"])
    _, row = kept(
        user_id="u5",
        user_features={"age": 77},
        candidates=[{"id": "v1"}, {"id": "v2", "features": {"likes": 9}, "video_len": 12.0}],
    )
    users, items = (PackedLayout.of(encoder, table).dtype for table in ("users", "items"))
    assert row["user_row"] != plain["user_row"]
    assert np.frombuffer(row["user_row"], users)["ids"].tolist() == (
        np.frombuffer(plain["user_row"], users)["ids"].tolist()
    )
    given, stored = np.frombuffer(row["item_rows"], items), np.frombuffer(plain["item_rows"], items)
    assert given[0] == stored[0]
    assert given[1]["video_len_s"] == 12.0 != stored[1]["video_len_s"]
    assert given[1]["numeric"].tolist() != stored[1]["numeric"].tolist()


def test_candidates_left_unscored_are_kept_without_predictions(serve, watched, tmp_path, monkeypatch):
    monkeypatch.setattr("service.ranking.ranker._Budget.allows", lambda self, seconds: seconds == 0.0)
    ids = [f"v{place}" for place in range(700)]
    with serve(bundle=watched.bundle, events=tmp_path, **ALL) as served:
        answer = served.rank(candidate_ids=ids, top_k=700, timeout_ms=60_000)
        row = wait_until(lambda: _record(tmp_path, answer))
    assert 0 < answer["scored"] < 700
    scored = np.isfinite(row["p_vtr"])
    assert row["degraded"] == ["deadline"]
    assert scored.tolist() == [place < answer["scored"] for place in range(700)]
    lengths = dict(zip(row["candidates"], row["candidate_len_s"], strict=True))
    for name, length in zip(row["items"], row["item_len_s"], strict=True):
        assert length == lengths[name] or (np.isnan(length) and np.isnan(lengths[name]))


def test_the_config_that_a_record_names_is_beside_it(kept, keeping, home):
    _, row = kept(candidate_ids=IDS[:3])
    config = EventFolder(home).config(row["fusion_version"])
    assert version(load_fusion(config)) == row["fusion_version"]
    catalogue = EventFolder(home).read_catalogue()
    assert catalogue.tasks == TASKS
    assert "is_click" in [kind.kind for kind in catalogue.events.kinds]


def test_the_frameworks_own_route_keeps_its_answers_too(keeping, home, monkeypatch):
    monkeypatch.setattr("service.http.routes.ranking.RankRoute.path", "/elsewhere")
    answer = keeping.rank(candidate_ids=IDS[:3])
    assert wait_until(lambda: _record(home, answer))["items"] == [item["id"] for item in answer["items"]]


def test_the_record_is_made_known_after_the_answer(watched, tmp_path, monkeypatch):
    order = []
    monkeypatch.setattr(
        "service.events.writer.ExposureWriter.offer",
        lambda self, shown: order.append(shown.exposure.exposure_id),
    )
    settings = Settings(bundle=watched.bundle, features=str(watched.features), events=tmp_path, threads=1)

    async def ask():
        app = create_app(settings)
        body = orjson.dumps({"user_id": "u1", "candidate_ids": ["v1", "v2"]})
        scope = {"type": "http", "method": "POST", "path": "/v1/rank", "headers": [], "query_string": b""}

        messages = [{"type": "http.request", "body": body}]

        async def receive():
            if not messages:
                await asyncio.Event().wait()  # nobody leaves
            return messages.pop()

        async def send(message):
            order.append(message["type"])

        async with app.router.lifespan_context(app):
            await app({**scope, "app": app}, receive, send)

    asyncio.run(ask())
    assert order[:2] == ["http.response.start", "http.response.body"]
    assert len(order) == 3, "the example of the documentation is kept nowhere"


def test_users_are_kept_by_the_hash_of_a_key(serve, watched, tmp_path):
    key, salt = "correct horse battery", "staple"
    secrets = {"events_user_key": key, "events_salt": salt}
    with serve(bundle=watched.bundle, events=tmp_path, **ALL, **secrets) as served:
        answer = served.rank(user_id="u5", candidate_ids=["v1"])
        row = wait_until(lambda: _record(tmp_path, answer))
    assert row["user_id"] == pseudonym("u5", key) != pseudonym("u5", "another key of them")
    assert row["unit_hash"] == unit_hash(salt, "", "u5")
    assert b'"u5"' not in b"".join(path.read_bytes() for path in tmp_path.rglob("*.arrow"))


def test_only_the_context_that_the_catalogue_names_is_kept(serve, world, watched, tmp_path):
    from tests.support.bundle_variants import write_edited

    events = watched.load().manifest.events.model_dump(mode="json")
    write_edited(world.bundle, tmp_path / "b", lambda _: None, events={**events, "context": ["hour", "age"]})
    with serve(bundle=tmp_path / "b", events=tmp_path / "events", **ALL) as served:
        given = {"context": {"tab": "1", "hour": 3}, "user_features": {"age": 30, "activity": "low"}}
        answer = served.rank(candidate_ids=["v1"], **given)
        row = wait_until(lambda: _record(tmp_path / "events", answer))
    assert orjson.loads(row["context"]) == {"hour": 3, "age": 30}


def test_readiness_says_whether_what_was_shown_is_written(keeping, served, serve, watched, tmp_path):
    assert served.http.get("/readyz").json()["events"] == "off"
    assert keeping.http.get("/readyz").json()["events"] == "written"
    home = tmp_path / "events"
    with serve(bundle=watched.bundle, events=home, **ALL) as running:
        home.rename(tmp_path / "away")
        lost = running.rank(candidate_ids=["v1"])
        state = wait_until(lambda: (found := _state(running.http)).startswith("failing: ") and found)
        assert state == f"failing: the folder of events is gone ({home})"
        assert "fulcrum_exposures_failing 1.0" in running.http.get("/metrics").text
        (tmp_path / "away").rename(home)
        assert wait_until(lambda: _record(home, lost))
        wait_until(lambda: _state(running.http) == "written")
        assert "fulcrum_exposures_failing 0.0" in running.http.get("/metrics").text


def _state(http: httpx.Client) -> str:
    return http.get("/readyz").json()["events"]


def test_without_a_folder_no_record_is_made(serve, monkeypatch):
    monkeypatch.setattr("service.ranking.exposures.Exposures.shown", None)
    with serve() as served:
        assert served.rank(candidate_ids=["v1"])["items"]


def test_the_id_alone_decides_what_is_kept_and_rows_are_a_part_of_candidates():
    ids = [new_exposure_id() for _ in range(20_000)]
    sampling = Sampling(0.05, 0.01)
    chosen = [sampling.of(one) for one in ids]
    assert chosen == [sampling.of(one) for one in ids]
    assert all(candidates for candidates, rows in chosen if rows)
    assert np.mean(chosen, axis=0) == pytest.approx([0.05, 0.01], abs=0.008)  # five standard deviations
    assert {Sampling(0.0, 1.0).of(one) for one in ids} == {(False, False)}
    assert {Sampling(1.0, 1.0).of(one) for one in ids} == {(True, True)}


def test_the_log_says_at_the_start_that_a_bundle_declares_no_kinds_of_feedback(serve, watched, tmp_path):
    for place, (bundle, warned) in enumerate([({}, True), ({"bundle": watched.bundle}, False)]):
        with capture_logs() as lines, serve(events=tmp_path / str(place), **bundle):
            pass
        assert any(line["event"] == "no_feedback_is_taken" for line in lines) is warned
