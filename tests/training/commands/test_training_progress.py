"""A training on a terminal and in a pipe."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from training.commands import rendering, training_progress
from training.commands.training_progress import TrainingProgress, gate_table
from training.fitting.trainer import EpochDone, EpochReport, StepDone
from training.metrics.comparison import Difference
from training.progress import Advanced, Note, Stage, Warned
from training.runs.regression_gate import RegressionGate

REPORT = EpochReport(1, 0.5, {}, {}, {"vtr": {"auc": 0.71234}, "vcr": {"mse": 0.1}}, 0.7, best=True)
EVENTS = [
    Stage("Reading [mine]"),
    Advanced("encoding", 50, 100, "rows"),
    Advanced("comparing", 100, 100, "rows"),
    Note("100 impressions"),
    Stage("Training"),
    StepDone(1, 1, 2, 64, 640, 64, 0.6, 0.01),
    EpochDone(REPORT, {}),
    Warned("worse than b"),
]


@pytest.fixture
def shown(monkeypatch):
    """What is printed of some events, in a pipe or on a terminal."""

    def show(*, terminal):
        console = Console(file=io.StringIO(), width=120, force_terminal=terminal)
        for module in (rendering, training_progress):
            monkeypatch.setattr(module, "progress", console)
        with TrainingProgress() as observer:
            for event in EVENTS:
                observer(event)
                # A terminal's bars are drawn now and then; here, after each event.
                observer._bars.refresh()
        return console.file.getvalue()

    return show


def test_a_pipe_gets_lines_and_no_bars(shown):
    assert shown(terminal=False).splitlines() == [
        "Reading [mine]",
        "  100 impressions",
        "Training",
        "  epoch 1  loss 0.5000  vtr auc 0.7123  vcr mse 0.1000 best",
        "  warning: worse than b",
    ]


def test_a_terminal_gets_a_bar_of_what_is_counted_now(shown):
    text = shown(terminal=True)
    bars = ("encoding", "comparing", "epoch 1/2  loss 0.6000")
    places = [text.index(label) for label in bars]
    assert places == sorted(places)
    assert "encoding" not in text[places[1] :]
    assert "comparing" not in text[places[2] :]


def test_the_gates_table_has_a_line_for_each_metric():
    gate = RegressionGate(
        "sha256:x", {"vtr.auc": Difference(0.7, 0.71, (-0.02, 0.01), higher_is_better=True)}, {"vtr.auc": 0}
    )
    console = Console(file=io.StringIO(), width=120)
    console.print(gate_table(gate))
    (line,) = [line for line in console.file.getvalue().splitlines() if "vtr.auc" in line]
    assert "0.7000" in line
    assert "-0.0100 [-0.0200, +0.0100]" in line
