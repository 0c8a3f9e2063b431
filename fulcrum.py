"""The front door: one command line for training and serving, made of the commands in `*/commands/`.

Commands load what they need when they are called, so that `fulcrum serve` runs where there is no torch.
"""

from __future__ import annotations

import errno
import os
import sys

import typer
from rich.markup import escape

from model.errors import FulcrumError
from model.terminal import progress
from service.commands import console, fusion, rank, serve
from training.commands import (
    calibrate,
    estimate,
    evaluate,
    events,
    experiment,
    fusion_diff,
    fusion_propose,
    publish,
    quantize,
    report,
    schema,
    search,
    simulate,
    train,
    tune,
    watch,
)

# Read when torch is loaded: its threads sleep while they wait for each other. Those that spin are many times
# slower where anything else runs on the machine, as in a container that shares its cores.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

app = typer.Typer(
    help="Multi-task ranking for short video: train PLE, export it, serve it, tune the fusion.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
fusion.app.command("diff")(fusion_diff.diff)
fusion.for_a_service("propose")(fusion_propose.propose)
app.add_typer(schema.app, name="schema")
app.add_typer(fusion.app, name="fusion")
app.add_typer(experiment.app, name="experiment")
app.add_typer(events.app, name="events")
for command in (
    train.train,
    search.search,
    report.report,
    evaluate.evaluate,
    calibrate.calibrate,
    tune.tune,
    estimate.estimate,
    quantize.quantize,
    publish.publish,
    serve.serve,
    console.console,
    rank.rank,
    simulate.simulate,
    watch.watch,
):
    app.command()(command)


_STORAGE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
"""What a disk may say in the middle of any command."""


def main() -> None:
    """Run the command line: bad input is one line on stderr and exit status 1."""
    try:
        app(prog_name="fulcrum")
    except FulcrumError as error:
        progress.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(1)
    except OSError as error:
        if error.errno not in _STORAGE:
            raise
        says = f"{error}: the command ended before its time; see to the disk and run it again"
        progress.print(f"[bold red]error:[/] {escape(says)}", highlight=False, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        progress.print("interrupted")
        sys.exit(130)


if __name__ == "__main__":
    main()
