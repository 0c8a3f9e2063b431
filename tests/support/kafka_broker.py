"""A Kafka to test against: librdkafka's mock cluster, in a process of its own, so that it may go away."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_BROKER = """
import sys, time
from confluent_kafka import Producer
cluster = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0})
while not (brokers := cluster.list_topics(timeout=10).brokers):
    pass
print(",".join(f"{one.host}:{one.port}" for one in brokers.values()), flush=True)
sys.stdin.read()
"""


@contextmanager
def running_kafka() -> Iterator[str]:
    """`host:port` of a broker, which ends with the block."""
    process = subprocess.Popen(
        [sys.executable, "-c", _BROKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
