"""What holds for every reader there is, whatever it reads."""

import re
from pathlib import Path

import pytest

from model.errors import FulcrumError
from model.schema import Schema
from tests.support.small_log import schema
from training.datasets import READERS, read_source

every_reader = pytest.mark.parametrize("name", sorted(READERS))
needing_files = pytest.mark.parametrize("name", sorted(name for name in READERS if READERS[name].needs))


def data(name: str, **options: object) -> Schema:
    return schema(reader=name, user="user_id", options=options)


@every_reader
def test_an_option_that_it_does_not_have_is_refused_by_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(FulcrumError, match=r"data\.options\.colour: (unknown key|the reader `.*` takes no)"):
        read_source(data(name, colour="red"), tmp_path)


@needing_files
def test_what_the_folder_must_hold_is_named_where_there_is_no_folder(name: str, tmp_path: Path) -> None:
    needs = READERS[name].needs
    with pytest.raises(FulcrumError) as refusal:
        read_source(data(name), None)
    assert str(refusal.value) == f"this recipe reads {needs}: give the folder that has them as `data`"
    nowhere = tmp_path / "nowhere"
    with pytest.raises(FulcrumError) as refusal:
        read_source(data(name), nowhere)
    assert str(refusal.value) == f"data folder {nowhere}: no such folder; expected a folder with {needs}"


@needing_files
def test_an_empty_folder_is_refused_by_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(FulcrumError, match=re.escape(f"{tmp_path}")):
        read_source(data(name), tmp_path)


@every_reader
def test_the_documentation_of_recipes_names_it(name: str) -> None:
    text = (Path(__file__).parents[3] / "docs" / "recipes.md").read_text()
    (row,) = (line for line in text.splitlines() if line.startswith("| `reader` |"))
    assert f"`{name}`" in row
