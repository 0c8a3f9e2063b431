"""Sides of a comparison: configs in files, of a log, of a running service's revisions. Replays nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from model.errors import FulcrumError
from model.terminal import LOCAL

if TYPE_CHECKING:
    from model.client.control import Control
    from model.fusion import FusionConfig, Scorer
    from training.tuning.diff import Side

CURRENT = "current"


def side_of(
    name: str, current: Callable[[], FusionConfig], folder: Path, service: Control | None = None
) -> Side:
    """A config, with its networks.

    Args:
        name: a file, `current`, or, where there is a service, the number of a revision.
        current: gives the current one.
        folder: where the networks of the current one are looked for.
        service: that has the revisions.
    """
    from training.tuning.diff import Side

    if service is not None and name.isdecimal():
        return side_of_revision(service, int(name))
    if name == CURRENT:
        config = current()
        return Side(name, config, _scorers(config, folder))
    return side_of_file(Path(name))


def side_of_file(file: Path) -> Side:
    """A config in a file, with the networks beside it."""
    from model.fusion import load_fusion
    from training.tuning.diff import Side

    config = load_fusion(file)
    return Side(str(file), config, _scorers(config, file.parent))


def side_of_revision(service: Control, number: int) -> Side:
    """A revision of a service, with its networks."""
    from model.client import control
    from model.fusion import LearnedFormula
    from training.tuning.diff import Side

    config = revision_config(service, number)
    found: dict[str, Scorer] = {}
    for scene in config.scenes.values():
        if isinstance(scene, LearnedFormula):
            from model.learned_fusion import LearnedNetwork

            content = service.send(control.network(scene.sha256))
            found[scene.sha256] = LearnedNetwork(content, len(scene.inputs))
    return Side(f"revision {number}", config, found)


def revision_config(service: Control, number: int) -> FusionConfig:
    """The config of a revision."""
    from model.client import control
    from model.fusion import parse_fusion

    config = service.send(control.revision(number))["config"]
    return parse_fusion(orjson.dumps(config).decode(), source=f"revision {number}")


@contextmanager
def service_of(names: Iterable[str], url: str | None, token_file: Path | None) -> Iterator[Control | None]:
    """The service whose revisions these are; None where they are files alone."""
    from model.client.signed_in import SignedIn

    if any(name.isdecimal() for name in names):
        with SignedIn(url or LOCAL, token_file) as service:
            yield service
    else:
        yield None


def _scorers(config: FusionConfig, folder: Path) -> Mapping[str, Scorer]:
    """Networks of its learned formulas, which lie in this folder."""
    from model.learned_fusion import scorer_of

    found: dict[str, Scorer] = {}
    for name, scene in config.scenes.items():
        try:
            network = scorer_of(scene, folder)
        except FulcrumError as error:
            raise FulcrumError(f"scene {name}: {error}") from error
        if network is not None:
            found[getattr(scene, "sha256")] = network  # noqa: B009 (a learned formula, as it has a network)
    return found
