"""Feedback is deleted in turn with the service that writes it."""

from __future__ import annotations

import threading
from contextlib import closing

from model.events import Feedback
from model.events.feedback_table import insert, open_feedback
from model.sqlite_file import writing
from training.events.feedback_database import FeedbackDatabase


def test_what_is_deleted_is_gone_and_every_step_waits_for_the_writers_turn(tmp_path, monkeypatch):
    monkeypatch.setattr("training.events.feedback_database._DELETED_ROWS", 3)
    path = tmp_path / "feedback.sqlite"
    events = [Feedback(f"{n}", "gone" if n % 2 else "kept", "i", "k", 1.0, n, n) for n in range(10)]
    with closing(open_feedback(path)) as service:
        insert(service, events)
        deleted = []
        deleting = threading.Thread(
            target=lambda: deleted.append(
                FeedbackDatabase(path).delete("exposure_id IN (SELECT exposure_id FROM gone)", (), ["gone"])
            )
        )
        with writing(path):
            deleting.start()
            deleting.join(0.2)
            assert deleting.is_alive()
            assert service.execute("SELECT count(*) FROM feedback").fetchone() == (10,)
        deleting.join()
        left = service.execute("SELECT event_id FROM feedback ORDER BY rowid").fetchall()
    assert (deleted, left) == ([5], [(f"{n}",) for n in range(0, 10, 2)])
