"""Opening: the sinks of a place of events, a folder or Kafka. The one place that knows both."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from model.events import EventFolder
from model.events.exposures import Precision
from model.events.kafka import KafkaUrl, import_client
from service.events.feedback_store import FeedbackReport, FeedbackSink, FeedbackStore
from service.events.sink import ExposureSink


def prepare_place(place: Path | KafkaUrl) -> None:
    """Import what its sinks need, and make the folder: before workers are forked, who then share what is
    imported, and start without the folder if it is gone by then.

    Raises:
        FulcrumError: the folder cannot be made, or the Kafka client is not there.
    """
    if isinstance(place, KafkaUrl):
        import_client()
    else:
        import_module("service.events.files").make_folder(place)


def open_exposures(place: Path | KafkaUrl, precision: Precision) -> ExposureSink[Any]:
    """Where one worker's exposures go.

    Raises:
        FulcrumError: the Kafka client is not there, or refuses the URL's properties.
    """
    if isinstance(place, KafkaUrl):
        sink: ExposureSink[Any] = import_module("service.events.kafka_exposures").KafkaExposures(place)
        return sink
    files: ExposureSink[Any] = import_module("service.events.files").FileSink(place, precision)
    return files


def open_feedback_sink(place: Path | KafkaUrl, report: FeedbackReport) -> FeedbackSink:
    """Where one worker's feedback goes.

    Raises:
        FulcrumError: as `open_exposures`; or the database is of another version.
    """
    if isinstance(place, KafkaUrl):
        sink: FeedbackSink = import_module("service.events.kafka_feedback").KafkaFeedback(place, report)
        return sink
    return FeedbackStore(EventFolder(place).feedback, report)
