"""Bundles that come and go under a running service: good ones serve, others are refused by name."""

from __future__ import annotations

import asyncio
import copy
import gc
import re
import shutil
import weakref

import pytest
import yaml

from model.bundle import load_bundle
from model.errors import FulcrumError
from model.redis_url import RedisUrl
from model.store.packed import open_tables, write_store
from service.control.bundles.rollout import AmbiguousVersionError
from service.control.state.desired import Desired, StateError, UnknownVersionError
from service.features.stores import FeatureStores
from service.inference.engine import Engine
from service.processes.board import Board
from service.processes.fleet import Fleet
from service.settings import Settings
from tests.support.faulty_proxy import FaultyProxy
from tests.support.rollout_site import reason, serves, settle
from training.publishing.redis_writer import RedisWriter


def test_the_newest_serves_and_a_newer_one_takes_over(site):
    site.add("one")
    second = site.add("two")
    rollout = site.worker()
    assert serves(rollout) == second
    third = site.add("three")
    settle(rollout)
    assert serves(rollout) == third
    assert rollout.control.snapshot().active.bundle.path.name == "three"


def test_a_worker_that_takes_the_last_bundle_away_goes_back(site):
    first = site.add("one")
    site.add("two")
    rollout = site.worker()
    shutil.rmtree(site.models / "two")
    settle(rollout)
    assert serves(rollout) == first


@pytest.mark.parametrize(
    ("flaw", "says"),
    [
        ("corrupt", r"network\.onnx is damaged"),
        ("foreign", r"no rows of encoder .*fulcrum publish"),
        ("nan", "differ from the parity sample by nan"),
        ("misfit", "predictions of vtr differ from the parity sample"),
    ],
)
def test_a_bad_bundle_is_refused_by_name_while_the_old_serves(site, flaw, says):
    good = site.add("good")
    rollout = site.worker()
    site.add("bad", flaw=flaw)
    settle(rollout)
    assert serves(rollout) == good
    assert re.search(says, reason(rollout, "bad"))
    assert str(site.models / "bad") in reason(rollout, "bad") or flaw == "foreign"
    assert site.judged == ["refused"]


def test_a_refused_bundle_is_not_tried_again_until_its_files_change(site, monkeypatch):
    site.add("good")
    rollout = site.worker()
    version = site.add("bad", flaw="corrupt")
    settle(rollout)
    with monkeypatch.context() as patched:
        patched.setattr("service.control.bundles.rollout.load_bundle", lambda _: pytest.fail("tried again"))
        settle(rollout)
    network = site.models / "bad" / "network.onnx"
    content = bytearray(network.read_bytes())
    content[len(content) // 2] ^= 1
    network.write_bytes(content)
    settle(rollout)
    assert serves(rollout) == version
    assert rollout.refusals() == {}


def test_a_bundle_without_rows_serves_once_they_are_published(site, tmp_path, monkeypatch):
    monkeypatch.setattr("service.control.bundles.refusals._AGAIN_S", 0.0)
    site.features = tmp_path / "features"
    shutil.copytree(site.world.features, site.features)
    site.add("good")
    rollout = site.worker()
    version = site.add("foreign", flaw="foreign")
    settle(rollout)
    assert "no rows" in reason(rollout, "foreign")
    encoder = load_bundle(site.models / "foreign").encoder
    _, tables = open_tables(site.features, site.world.load().encoder)
    rows = [
        (name, ["u1"] if name == "users" else ["v1"], table.records[:1]) for name, table in tables.items()
    ]
    write_store(site.features, encoder, rows)
    settle(rollout)
    assert serves(rollout) == version


@pytest.fixture
def redis_site(site, redis_server, monkeypatch):
    """A site whose store is a Redis with the rows of the world's encoder, behind a proxy."""
    monkeypatch.setattr("service.control.bundles.refusals._AGAIN_S", 0.0)
    monkeypatch.setattr("service.features.redis_store._SEEK_S", 0.0)
    encoder = site.world.load().encoder
    writer = RedisWriter(RedisUrl(redis_server.url), encoder)
    for name, table in open_tables(site.features, encoder)[1].items():
        list(writer.write(name, ["u1"] if name == "users" else ["v1"], table.records[:1]))
    writer.finish(changed=True)
    site.proxy = FaultyProxy(redis_server.port)
    site.open_store = FeatureStores(Settings(bundle="unused", features=site.proxy.url)).open
    yield site
    site.proxy.close()


def test_a_swap_waits_while_the_store_is_away(redis_site):
    first = redis_site.add("one")
    rollout = redis_site.worker()
    redis_site.proxy.fault = "refuse"
    second = redis_site.add("two")
    settle(rollout)
    assert serves(rollout) == first
    assert "no answer from Redis" in reason(rollout, "two")
    redis_site.proxy.fault = "none"
    settle(rollout)
    assert (serves(rollout), rollout.refusals()) == (second, {})


def test_a_worker_that_starts_while_the_store_is_away_goes_to_a_bundle_with_rows_once_it_is_back(redis_site):
    good = redis_site.add("good")
    newest = redis_site.add("foreign", flaw="foreign")
    redis_site.proxy.fault = "refuse"
    rollout = redis_site.worker()
    settle(rollout)
    assert serves(rollout) == newest  # nobody knows better
    assert rollout.control.snapshot().active.store.generation is None
    redis_site.proxy.fault = "none"
    settle(rollout)
    assert serves(rollout) == good
    assert "no rows" in reason(rollout, "foreign")


def test_a_bundle_that_the_fusion_file_does_not_fit_is_refused_until_it_does(
    site, tmp_path, fusion_config, monkeypatch
):
    monkeypatch.setattr("service.control.bundles.refusals._AGAIN_S", 0.0)
    fusion_config = copy.deepcopy(fusion_config)
    file = tmp_path / "fusion.yaml"
    file.write_text(yaml.safe_dump(fusion_config))
    good = site.add("good")
    rollout = site.worker(fusion=file)
    renamed = site.add("renamed", rename=("cmr", "fav"))
    settle(rollout)
    assert serves(rollout) == good
    assert "unknown task 'cmr' in scenes.default.tasks; the bundle has" in reason(rollout, "renamed")
    assert serves(site.worker(fusion=file)) == good  # nor does it keep a replacement from its start
    del fusion_config["scenes"]["default"]["tasks"]["cmr"]
    file.write_text(yaml.safe_dump(fusion_config))
    for _ in range(3):
        rollout.control._poll()
    settle(rollout)
    assert serves(rollout) == renamed
    assert rollout.control.snapshot().active.bundle.task_names == ["vtr", "vcr", "shr", "fav"]


def test_the_state_pins_a_version_and_outlives_the_worker(site):
    first = site.add("one")
    site.add("two")
    rollout = site.worker()
    rollout.activate(first)
    assert serves(rollout) == first
    site.add("three")
    settle(rollout)
    assert serves(rollout) == first
    assert serves(site.worker()) == first


def test_other_workers_follow_the_state(site, tmp_path):
    first = site.add("one")
    site.add("two")
    board = Board(3)
    one, other = site.worker(board=board, place=0), site.worker(board=board, place=1)
    one.activate(first[:20])
    other.poll()
    assert serves(one) == serves(other) == first
    assert [report.bundle for report in Fleet(None, 2, board).workers()][:2] == [first, first]


def test_a_pin_that_the_folder_lacks_keeps_what_serves_and_is_told(site):
    version = site.add("one")
    rollout = site.worker()
    site.state.write(Desired(bundle=f"sha256:{'0' * 64}"))
    site.add("two")
    settle(rollout)
    assert serves(rollout) == version
    assert "does not hold" in (rollout.problem or "")
    assert serves(site.worker()) != version  # one that starts now takes the newest over nothing


def test_a_state_that_cannot_be_read_keeps_what_was_wanted(site, tmp_path):
    first = site.add("one")
    site.add("two")
    board = Board(2)
    rollout = site.worker(board=board, place=0)
    rollout.control._fleet.report(ready=True)
    rollout.activate(first)
    (tmp_path / "state.json").write_text("{")
    settle(rollout)
    assert serves(rollout) == first
    assert "not JSON" in (rollout.problem or "")
    # A replacement follows the others, since it cannot ask the state.
    assert serves(site.worker(board=board, place=1)) == first


def test_a_state_that_cannot_be_written_changes_nothing(site, monkeypatch):
    first = site.add("one")
    second = site.add("two")
    rollout = site.worker()

    def fail(_: Desired) -> None:
        raise StateError("disk full")

    monkeypatch.setattr(site.state, "write", fail)
    with pytest.raises(StateError):
        rollout.activate(first)
    assert serves(rollout) == second


def test_versions_may_be_shortened_while_unique(site):
    site.add("one")
    second = site.add("two")
    rollout = site.worker()
    rollout.activate(second.removeprefix("sha256:")[:8])
    with pytest.raises(AmbiguousVersionError, match="give more of it"):
        rollout.activate("sha256:")
    with pytest.raises(UnknownVersionError, match="it holds sha256:"):
        rollout.activate("0" * 64)


def test_activating_a_refused_bundle_says_why_and_changes_nothing(site):
    bad = site.add("bad", flaw="nan")
    good = site.add("good")
    rollout = site.worker()
    with pytest.raises(FulcrumError, match="parity sample"):
        rollout.activate(bad)
    assert serves(rollout) == good
    assert site.state.read() == Desired()


def test_a_start_with_a_bad_newest_takes_the_next(site):
    good = site.add("good")
    site.add("bad", flaw="corrupt")
    rollout = site.worker()
    assert serves(rollout) == good
    assert "damaged" in reason(rollout, "bad")


def test_a_start_without_any_good_bundle_says_what_is_wrong_with_each(site):
    with pytest.raises(FulcrumError, match="it holds none"):
        site.worker()
    site.add("bad", flaw="corrupt")
    site.add("worse", flaw="nan")
    with pytest.raises(FulcrumError, match=r"parity sample.*damaged"):
        site.worker()


def test_a_bundle_that_breaks_its_loader_is_a_refusal(site, monkeypatch):
    good = site.add("good")
    rollout = site.worker()
    site.add("bad")
    monkeypatch.setattr(Engine, "load", lambda *_: 1 / 0)
    settle(rollout)
    assert serves(rollout) == good
    assert "ZeroDivisionError" in reason(rollout, "bad")


def test_without_a_fusion_file_each_bundle_brings_its_own(site):
    first = site.add("one")
    rollout = site.worker()
    before = rollout.control.snapshot().fusion
    site.add("two")
    settle(rollout)
    after = rollout.control.snapshot().fusion
    assert (before.source, after.source) == (
        str(site.models / "one" / "fusion.yaml"),
        str(site.models / "two" / "fusion.yaml"),
    )
    rollout.activate(first)
    assert rollout.control.snapshot().fusion.source == before.source


def test_a_bundle_is_gone_once_its_last_request_ends(site):
    """Over twenty swaps, without the collector of cycles."""
    versions = [site.add("one"), site.add("two")]
    rollout = site.worker()
    gc.collect()
    gc.disable()
    try:
        seen = []
        for turn in range(20):
            held = rollout.control.snapshot()
            asyncio.run(held.active.store.look_up("u1", ["v1"]))
            seen += [
                weakref.ref(held.active),
                weakref.ref(held.active.engine),
                weakref.ref(held.active.bundle),
            ]
            rollout.activate(versions[turn % 2])
            assert serves(rollout) == versions[turn % 2]
            assert seen[-1]() is not None, "a request still has it"
            del held
            assert [ref() for ref in seen] == [None] * len(seen)
    finally:
        gc.enable()
