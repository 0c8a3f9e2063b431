"""`make loop`, as far as it goes without a training."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import yaml

from examples.loop import GUARDED, WINDOW_S, recipe_of, with_noise
from examples.loop_picture import draw
from model.fusion import load_fusion
from training.recipe import load_recipe


@pytest.mark.parametrize("reward", ["additive", "complementary"])
def test_its_recipe_is_the_worlds_with_feedback_at_once(tmp_path, reward):
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe_of(8, reward)))
    recipe = load_recipe(str(tmp_path / "recipe.yaml"))
    assert recipe.events.longest_window_s == WINDOW_S
    assert {*GUARDED} <= {kind.name for kind in recipe.events.kinds}


def test_what_it_proposes_explores(tmp_path):
    file = tmp_path / "fusion.yaml"
    file.write_text("schema_version: 1\nscenes: {default: {tasks: {vtr: {weight: 1}}}}\n")
    with_noise(file)
    assert load_fusion(file).scenes["default"].explore.noise == 0.2


def test_its_picture_shows_pieces_experiments_and_revisions(tmp_path):
    pieces = [
        SimpleNamespace(
            requests=1_000 * at, value=9.0 + at, low=8.0, high=14.0, revision=rev, experiment=name
        )
        for at, rev, name in ((1, 2, None), (2, 2, "round_1"), (3, 3, None))
    ]
    draw(pieces, {"bundle's own": 9.5, "revision 3": 10.0, "best sum": 11.0}, tmp_path / "worth.svg")
    drawn = (tmp_path / "worth.svg").read_text()
    assert ">revision 3</text>" in drawn, "it became active"
    assert ">revision 2</text>" not in drawn
    assert drawn.count(">best sum</text>") == 1
