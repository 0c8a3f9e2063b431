"""The exported network by onnxruntime: rows are independent, and a file that is no network is refused."""

from __future__ import annotations

import numpy as np
import pytest

from model.bundle import load_bundle
from model.bundle.inputs import NetworkInputs
from model.bundle.session import NetworkSession
from model.errors import FulcrumError


@pytest.fixture(scope="module")
def bundle(trained):
    return load_bundle(trained.bundle)


@pytest.fixture(scope="module")
def session(bundle):
    return NetworkSession(bundle.network_path)


def test_it_gives_torchs_predictions_for_the_bundles_sample(bundle, session):
    assert session.tasks == bundle.task_names
    found = session.predict(bundle.sample.inputs)
    for task, expected in bundle.sample.expected.items():
        assert found[task].dtype == np.float32
        np.testing.assert_allclose(found[task], expected, rtol=0, atol=1e-5)
        assert np.ptp(expected) > 0


def test_a_candidates_prediction_does_not_depend_on_the_others(bundle, session):
    inputs = bundle.sample.inputs
    whole = session.predict(inputs)
    for size in (1, 7):
        for start in range(0, 30, size):
            part = session.predict(inputs.rows(start, start + size))
            for task, values in part.items():
                np.testing.assert_allclose(values, whole[task][start : start + size], rtol=0, atol=1e-6)


def test_the_user_row_of_a_candidate_is_the_one_it_names(bundle, session):
    inputs = bundle.sample.inputs
    last = len(inputs.user) - 1
    turned = NetworkInputs(inputs.user.take(np.arange(last, -1, -1)), inputs.item, last - inputs.row_to_user)
    np.testing.assert_allclose(session.predict(turned)["vtr"], session.predict(inputs)["vtr"], atol=1e-6)
    swapped = NetworkInputs(inputs.user, inputs.item, (inputs.row_to_user + 1) % (last + 1))
    assert np.abs(session.predict(swapped)["vtr"] - session.predict(inputs)["vtr"]).max() > 1e-4


def test_no_candidates_make_no_predictions(bundle, session):
    none = session.predict(bundle.sample.inputs.rows(0, 0))
    assert {task: values.tolist() for task, values in none.items()} == {"vtr": [], "vcr": [], "shr": []}


def test_a_file_that_is_no_network_is_refused_by_name(tmp_path):
    path = tmp_path / "network.onnx"
    with pytest.raises(FulcrumError, match=r"network\.onnx: onnxruntime cannot load this network"):
        NetworkSession(path)
    path.write_bytes(b"not a graph")
    with pytest.raises(FulcrumError, match=r"network\.onnx: onnxruntime cannot load this network"):
        NetworkSession(path)


def test_a_graph_with_a_foreign_input_is_refused(tmp_path):
    from onnx import TensorProto, helper, save_model

    shapes = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"]) for name in ("images", "vtr")]
    node = helper.make_node("Sigmoid", ["images"], ["vtr"])
    graph = helper.make_graph([node], "foreign", shapes[:1], shapes[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    save_model(model, tmp_path / "network.onnx")
    with pytest.raises(FulcrumError, match="unknown graph input 'images'; expected user_ids"):
        NetworkSession(tmp_path / "network.onnx")
