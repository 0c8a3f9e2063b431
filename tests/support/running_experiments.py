"""Experiments of a control store, put there as whoever changes them would: for workers that follow it."""

from __future__ import annotations

from typing import Any

from model.experiments import Experiment, Experiments, Layer
from service.control.fusion.revisions import Revisions
from service.control.state.control import ControlStore

__all__ = ["change_document", "halves", "set_experiments"]


def set_experiments(store: ControlStore, *experiments: dict[str, Any], layers: list[dict[str, Any]]) -> None:
    """Have these and no others: of all buckets of layer `l`, and running, unless they say otherwise."""
    made = tuple(Layer(**({"salt": f"salt of {layer['name']}"} | layer)) for layer in layers)
    ones = tuple(Experiment(**(_DEFAULT | one)) for one in experiments)
    change_document(store, experiments=Experiments(layers=made, experiments=ones))


def change_document(store: ControlStore, **update: Any) -> None:
    """Replace parts of the document, once there is one."""
    revisions = Revisions(store)
    revisions.change(
        lambda document: revisions.recorded(
            document.model_copy(update=update), "anna", "experiment_created", None, None, ""
        )
    )


def halves(**arm: Any) -> list[dict[str, Any]]:
    """A control, `old`, and an arm as large, `new`."""
    return [{"name": "old", "share": 5000}, {"name": "new", "share": 5000, **arm}]


_DEFAULT = {"layer": "l", "first": 0, "size": 10_000, "ramp": 10_000, "state": "running"}
