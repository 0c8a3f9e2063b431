"""The Kafka URL: what it says, and that nothing secret shows."""

from __future__ import annotations

import pytest

from model.errors import FulcrumError
from model.events.kafka import KafkaUrl

SECRET = "kafka://me:hunter2@b1.example:9093,b2.example:9093/feed?ssl.ca.location=/ca.pem"


def test_the_login_shows_nowhere() -> None:
    url = KafkaUrl(SECRET)
    assert str(url) == "kafka://b1.example:9093,b2.example:9093/feed"
    assert "hunter2" not in repr(url)
    assert url.topic("exposures") == "feed.exposures"


@pytest.mark.parametrize(
    "url",
    [
        "kafka://host/feed",
        "kafka://host:9092",
        "kafka://host:9092/",
        "kafka://me:hun/ter2@host:9092/feed",
        "kafka://me:hunter2#@host:9092/feed",
        "kafka://host:9092/feed?group.id=x",
        "kafka://host:9092/feed?sasl.password=hunter2",
        "kafka://host:9092/fe ed",
        "http://host:9092/feed",
    ],
)
def test_what_is_no_kafka_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(FulcrumError, match="Kafka URL") as refused:
        KafkaUrl(url)
    assert "hunter2" not in str(refused.value)
    assert "ter2" not in str(refused.value)


def test_a_property_that_the_client_does_not_know_is_named() -> None:
    with pytest.raises(FulcrumError, match=r"refuses the URL's properties \(no.such\)"):
        KafkaUrl("kafka://host:9092/feed?no.such=1").producer(lambda _: None)


def test_a_value_that_the_client_refuses_is_one_line_without_it() -> None:
    with pytest.raises(FulcrumError, match="refuses the URL's properties") as refused:
        KafkaUrl("kafka://me:hunter2@host:9092/feed?security.protocol=hunter2").producer(lambda _: None)
    assert "hunter2" not in str(refused.value)
