"""`fulcrum experiment`: something new on a share of the traffic, beside what is active."""

from __future__ import annotations

import typer

from training.commands import experiment_changes, experiment_create, experiment_plan, experiment_status

app = typer.Typer(
    help="Experiments: something new on a share of the traffic, beside what is active.\n\n"
    "A layer deals users, sessions or requests into 10,000 buckets; an experiment holds some of them and "
    "deals them to its arms. The first arm is the control: what is active. `fulcrum watch` ramps an "
    "experiment, stops it where it does harm, and says when it is decided. The service must have been "
    "started with --control. docs/experiments.md goes through all of it.",
    no_args_is_help=True,
)
app.command("plan")(experiment_plan.plan)
app.command("layer")(experiment_create.layer)
app.command("create")(experiment_create.create)
app.command("list")(experiment_status.list_)
app.command("status")(experiment_status.status)
app.command("start")(experiment_changes.start)
app.command("ramp")(experiment_changes.ramp)
app.command("pause")(experiment_changes.pause)
app.command("stop")(experiment_changes.stop)
app.command("decide")(experiment_changes.decide)
app.command("override")(experiment_changes.override)
