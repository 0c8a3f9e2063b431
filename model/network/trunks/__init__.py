"""The trunks, one file each: all that are in this folder are known by their `model`.

A network to come is one file here, with a config and a trunk, and a test of it.
"""

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from typing import Any

from model.errors import FulcrumError, checked, listed, shown
from model.network.config import TrunkConfig
from model.network.heads import TaskHead
from model.network.trunk import Trunk

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")


def network_config(document: Mapping[str, Any], at: str = "") -> TrunkConfig:
    """The config that a recipe's `network:` describes; PLE's where it names no `model`.

    Args:
        document: the settings.
        at: their path in the recipe, for errors.

    Raises:
        FulcrumError: there is no such network, or what else is wrong, and where.
    """
    name = document.get("model", "ple")
    if not isinstance(name, str) or name not in Trunk.known:
        where = f"{at}.model" if at else "model"
        raise FulcrumError(f"{where}: unknown network {shown(name)}; there are {listed(sorted(Trunk.known))}")
    return checked(Trunk.known[name].config, document, at=at)


def build_trunk(config: TrunkConfig, *, fields: Sequence[int], tasks: Sequence[TaskHead]) -> Trunk:
    """The trunk that a config describes, freshly initialised.

    Raises:
        ValueError: the config does not fit the tasks.
    """
    return Trunk.known[config.model](config, fields=fields, tasks=tasks)
