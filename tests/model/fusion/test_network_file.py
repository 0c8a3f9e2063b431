"""The file of a learned formula's network: its bytes are read once, and are those that the config names."""

from __future__ import annotations

import hashlib
import os

import pytest

from model.fusion import FusionError, LearnedFormula
from model.fusion.formulas.learned import MAX_MODEL_BYTES
from model.fusion.network_file import read_network

CONTENT = b"a network"
NAMED = hashlib.sha256(CONTENT).hexdigest()
FORMULA = LearnedFormula(file="score.onnx", sha256=NAMED, inputs=("vtr",), fallback="product")


def test_the_file_beside_the_config_is_read_through_links_too(tmp_path):
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / "score.onnx").write_bytes(CONTENT)
    (tmp_path / "score.onnx").symlink_to("..data/score.onnx")
    assert read_network(FORMULA, tmp_path) == CONTENT


def test_other_content_than_the_config_names_is_refused_with_both_checksums(tmp_path):
    (tmp_path / "score.onnx").write_bytes(b"another")
    with pytest.raises(FusionError, match=NAMED) as refused:
        read_network(FORMULA, tmp_path)
    assert f"its sha256 is {hashlib.sha256(b'another').hexdigest()}" in str(refused.value)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: None, "there is no such file"),
        (lambda path: path.symlink_to("nowhere"), "there is no such file"),
        (lambda path: path.mkdir(), "cannot read the file"),
        (os.mkfifo, "it is not a regular file"),
        (lambda path: path.write_bytes(bytes(MAX_MODEL_BYTES + 1)), f"larger than {MAX_MODEL_BYTES} bytes"),
    ],
)
def test_what_is_no_small_file_is_refused_without_waiting(tmp_path, make, says):
    make(tmp_path / "score.onnx")
    with pytest.raises(FusionError, match=says):
        read_network(FORMULA, tmp_path)


def test_a_network_of_the_largest_size_is_read(tmp_path):
    content = bytes(MAX_MODEL_BYTES)
    (tmp_path / "score.onnx").write_bytes(content)
    formula = FORMULA.model_copy(update={"sha256": hashlib.sha256(content).hexdigest()})
    assert read_network(formula, tmp_path) == content
