"""The README and the docs speak of commands, targets, files and settings that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def shell_lines() -> list[str]:
    lines = []
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL):
            lines += re.sub(r"\\\n\s*", " ", block).splitlines()
    return [line.partition("  #")[0] for line in lines]


def fulcrum_calls() -> list[list[str]]:
    """Words of each `fulcrum` call, after any pipe."""
    calls = []
    for line in shell_lines():
        command = line.rpartition("|")[2].strip().removesuffix("&").strip()
        if command.startswith("fulcrum "):
            calls.append(shlex.split(command)[1:])
    return calls


def test_the_pages_have_commands_at_all() -> None:
    assert len(fulcrum_calls()) >= 8


@pytest.mark.parametrize("words", fulcrum_calls(), ids=" ".join)
def test_every_documented_command_takes_its_options(command_line, words: list[str]) -> None:
    command, names = command_line, []
    for word in words:
        if word not in getattr(command, "commands", {}):
            break
        command = command.commands[word]
        names.append(word)
    assert names
    known = {option for parameter in command.params for option in parameter.opts + parameter.secondary_opts}
    for option in (word for word in words if word.startswith("--")):
        assert option in {"--help", *known}, f"fulcrum {' '.join(names)} has no {option}"


def test_every_documented_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        for target in re.findall(r"`make ([a-z]+)[^`]*`", page.read_text()):
            assert target in targets, f"{page.name} speaks of make {target}"
    for line in shell_lines():
        if line.startswith("make "):
            assert line.split()[1] in targets


def test_every_link_and_every_file_of_the_tree_exists() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name} links to {target}"
    tree = re.search(r"```text\nfulcrum\.py.*?```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert tree
    folder = Path()
    for line in tree.group().splitlines()[1:-1]:
        names = re.split(r"\s{2,}", line.strip())[0].split()
        folder = Path() if not line.startswith(" ") else folder
        for name in names:
            assert (ROOT / folder / name).exists(), f"the README's tree has {folder / name}"
        folder = folder if line.startswith(" ") else Path(names[0])


def test_every_setting_of_the_service_is_documented() -> None:
    from service.settings import Settings

    text = (ROOT / "docs" / "service.md").read_text()
    for name in Settings.model_fields:
        assert f"FULCRUM_{name.upper()}" in text


def test_every_key_of_a_recipe_is_documented() -> None:
    from model.network.trunk import Trunk
    from model.schema import (
        CategoricalFeature,
        DataSpec,
        HistorySpec,
        MultiFeature,
        NumericFeature,
        PriorSpec,
        RegressionTask,
        SequenceFeature,
        TableSpec,
    )
    from training.recipe import StreamConfig, TrainingConfig

    text = "".join((ROOT / "docs" / name).read_text() for name in ("recipes.md", "networks.md"))
    kinds = (
        DataSpec,
        TableSpec,
        PriorSpec,
        HistorySpec,
        CategoricalFeature,
        MultiFeature,
        SequenceFeature,
        NumericFeature,
        RegressionTask,
        *(trunk.config for trunk in Trunk.known.values()),
        TrainingConfig,
        StreamConfig,
    )
    for kind in kinds:
        for name in kind.model_fields:
            assert f"`{name}`" in text, f"no page explains {kind.__name__}.{name}"
    for model in Trunk.known:
        assert f"| `{model}` |" in text, f"docs/networks.md has no row for {model}"
