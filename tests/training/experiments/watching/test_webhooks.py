import httpx
import orjson
import pytest

from model.errors import FulcrumError
from tests.support.experiment_service import ExperimentService
from training.experiments.watching.webhooks import Webhooks, posts


class Address:
    """Takes messages, but the first ones."""

    def __init__(self, refuses=0):
        self.messages, self.refuses = [], refuses

    def __call__(self, content):
        if self.refuses > 0:
            self.refuses -= 1
            raise httpx.ConnectError("away")
        self.messages.append(orjson.loads(content))


@pytest.fixture
def service():
    found = ExperimentService(lambda: 0)
    found.create(ramp=1_000)
    return found


def reported(path, service, address, failed=lambda line: None):
    """As one process posts it."""
    hooks = Webhooks(path / "hooks.json", address, failed, between_s=0.0)
    hooks.report(service.document.experiments)
    hooks.wait(10.0)
    hooks.close()


def test_what_changes_is_posted_once_and_what_was_before_is_not(service, tmp_path):
    address = Address()
    reported(tmp_path, service, address)
    service.start()
    for _ in range(2):
        reported(tmp_path, service, address)
    service.document = service.document.with_(service.one().changed(ramp=5_000, state="paused"))
    reported(tmp_path, service, address)
    assert [(one["experiment"], one["changes"]) for one in address.messages] == [
        ("test", ["running"]),
        ("test", ["paused", "ramped"]),
    ]


def test_a_message_is_tried_again_and_again_at_the_next_look(service, tmp_path):
    problems = []
    reported(tmp_path, service, Address(), problems.append)
    service.start()
    reported(tmp_path, service, away := Address(refuses=99), problems.append)
    assert away.refuses == 96
    assert problems == ["webhook: test running: not taken (away); tried again later"]
    reported(tmp_path, service, again := Address(refuses=2), problems.append)
    assert [one["changes"] for one in again.messages] == [["running"]]


def test_a_new_experiment_is_posted_when_it_runs(service, tmp_path):
    address = Address()
    reported(tmp_path, service, address)
    one = service.one().changed(size=5_000)
    service.document = service.document.with_(one)
    service.create(id="other", first=5_000, size=5_000, ramp=10)
    reported(tmp_path, service, address)
    assert address.messages == []
    service.start("other")
    reported(tmp_path, service, address)
    assert [one["experiment"] for one in address.messages] == ["other"]


@pytest.mark.parametrize("url", ["example.org/hook", "ftp://example.org/", "http://", "http://[::1"])
def test_what_is_no_address_is_refused(url):
    with pytest.raises(FulcrumError, match="not an address"):
        posts(url)
