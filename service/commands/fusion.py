"""`fulcrum fusion`: configs of the score."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from model.errors import FulcrumError
from model.terminal import LOCAL, Url, answer
from service.commands import fusion_archive, fusion_changes, fusion_revisions

app = typer.Typer(
    help="Fusion configs: the weights of the score, in files and in a running service.\n\n"
    "A service that was started with --control keeps every config as a revision: propose one, look at what "
    "it changes, activate it, roll back. docs/control.md goes through all of it.",
    no_args_is_help=True,
)

for_a_service = partial(app.command, rich_help_panel="Revisions of a running service")
"""Registers a command that needs one."""
CURRENT = "current"


@app.command("validate")
def fusion_validate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A fusion config.")],
    bundle: Annotated[
        Path | None, typer.Option("--bundle", help="Check the task names against this bundle.")
    ] = None,
) -> None:
    """Say whether a fusion config is sound, and its version.

    Networks of learned formulas are tried as the service tries them, where onnxruntime is installed.
    """
    from model.fusion import version

    config = _fusion(file, bundle)
    for line in _networks(config, file):
        answer.print(line, soft_wrap=True, markup=False)
    answer.print(f"valid  {version(config)}  scenes: {', '.join(config.scenes)}", soft_wrap=True)


@app.command("show")
def fusion_show(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE|N", help="A fusion config; or a revision's number, or `current`, of a service."
        ),
    ],
    bundle: Annotated[
        Path | None, typer.Option("--bundle", help="List this bundle's tasks that the config leaves out.")
    ] = None,
    url: Url = LOCAL,
    json: Annotated[bool, typer.Option("--json", help="Of a revision: print one JSON object.")] = False,
) -> None:
    """Show a fusion config with its defaults filled in: what each term of the score is.

    A revision of a service is printed as YAML that is ready to edit, under its note and its evidence.
    `current` is the active one. A file whose name is a number is ./17.

        fulcrum fusion show current > mine.yaml
    """
    if file.isdecimal() or file == CURRENT:
        if bundle is not None:
            raise FulcrumError("--bundle goes with a file; of a revision, the service says whether it fits")
        fusion_revisions.show_revision(None if file == CURRENT else int(file), url, json)
        return
    if json:
        raise FulcrumError(f"--json goes with a revision's number, found {file}; leave it out")
    _show_file(Path(file), bundle)


for_a_service("list")(fusion_revisions.revisions)
for_a_service("activate")(fusion_changes.activate)
for_a_service("rollback")(fusion_changes.rollback)
for_a_service("cancel")(fusion_changes.cancel)
for_a_service("audit")(fusion_revisions.audit)
for_a_service("export")(fusion_archive.export)
for_a_service("import")(fusion_archive.import_)


def _show_file(file: Path, bundle: Path | None) -> None:
    from model.bundle import load_bundle
    from model.fusion import version
    from service.commands.scene_tables import scene_tables

    config = _fusion(file, bundle)
    tasks = load_bundle(bundle).task_names if bundle is not None else []
    answer.print(f"[bold]{escape(str(file))}[/]  {version(config)}", highlight=False, soft_wrap=True)
    for name, scene in config.scenes.items():
        for part in scene_tables(name, scene, tasks):
            answer.print(part, highlight=False)


def _networks(config: Any, file: Path) -> list[str]:
    """What became of each network that the config names.

    Raises:
        FusionError: one of them cannot be used.
    """
    from model.fusion import FusionError, LearnedFormula
    from model.fusion.network_file import read_network

    learned = {name: scene for name, scene in config.scenes.items() if isinstance(scene, LearnedFormula)}
    for name, scene in learned.items():
        try:
            read_network(scene, file.parent)
        except FusionError as error:
            where = f"{file}: fusion config: scenes.{name}: network {scene.file}"
            raise FusionError(f"{where}: {error}") from None
    if not learned:
        return []
    if find_spec("onnxruntime") is None:
        return [
            "networks: checksums are right; not tried, as onnxruntime is not installed "
            "(pip install 'fulcrum[service]')"
        ]
    from service.control.fusion.networks import Networks

    try:
        networks = Networks().of(config, file.parent)
    except FusionError as error:
        raise type(error)(f"{file}: fusion config: {error}") from None
    paces = {name: networks[scene.sha256].expected_s(1000) for name, scene in learned.items()}
    return [
        f"network of {name}: {learned[name].file} is monotone; 1,000 candidates take {1000 * pace:.2f} ms"
        for name, pace in paces.items()
    ]


def _fusion(file: Path, bundle: Path | None) -> Any:
    from model.bundle import load_bundle
    from model.fusion import check_conditions, check_tasks, load_fusion

    config = load_fusion(file)
    if bundle is not None:
        loaded = load_bundle(bundle)
        check_tasks(config, loaded.task_names, source=file)
        check_conditions(config, loaded.request_features, source=file)
    return config
