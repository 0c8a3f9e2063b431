"""Lowering: the exported graph rewritten to less work. Knows neither torch nor trunks.

The trunk's input is x = [user gathered by row_to_user | what each candidate adds]. A linear layer on it
parts,

    W x + b = gather(W_user u + b) + W_rest r,

so that W_user u + b is calculated once a user, and candidates pay for W_rest r alone. A gate's sum over
experts is added up expert by expert, without copying them side by side. Neighbouring embeddings of one width
are looked up at once. What is not found to be of that form stays. Standard operators alone, so that every
provider takes them.

Shapes: R users, N candidates, D width of x, H outputs of a layer, E experts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, NodeProto, TensorProto, numpy_helper

from training.export.graphs import (
    attribute,
    constant,
    constants,
    drop_unread,
    make_node,
    plain_gemm,
    producers,
    rewrite,
)

_ROWS = "row_to_user"
_NARROW = 32
"""Layers of at most so many outputs, which are gates, go into one product: each by itself would waste most of
the processor's lanes. Wider ones stay apart, as splitting their outputs again costs more than it gains."""


def lower(graph: GraphProto, user_width: int) -> None:
    """Rewrite the graph of a ranking network.

    Args:
        graph: as torch exports it; changed in place.
        user_width: columns of the user's vector, with which x begins.
    """
    _split_by_linearity(graph, user_width)
    _add_experts_up(graph)
    _look_up_at_once(graph)
    drop_unread(graph)


@dataclass(frozen=True)
class _Layer:
    """A linear layer on x, by its weights [H, D] and bias [H]."""

    node: NodeProto
    weight: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]


def _split_by_linearity(graph: GraphProto, user_width: int) -> None:
    join = _join(graph)
    if join is None or not user_width:
        return
    layers = _layers(graph, join.output[0])
    if not layers or any(layer.weight.shape[1] <= user_width for layer in layers):
        return
    narrow = [layer for layer in layers if len(layer.bias) <= _NARROW]
    groups = [[layer] for layer in layers if layer not in narrow] + ([narrow] if narrow else [])
    user, rest = producers(graph)[join.input[0]].input[0], join.input[1]
    nodes = []
    if len(join.input) > 2:
        rest = "split.rest"
        nodes.append(make_node("Concat", join.input[1:], [rest], axis=1))
    nodes += [*_places(graph, user), *_once_a_user(graph, user, groups, user_width)]
    for number, group in enumerate(groups):
        weight = np.concatenate([layer.weight for layer in group])[:, user_width:]
        outputs = [layer.node.output[0] for layer in group]
        joined = outputs[0] if len(outputs) == 1 else f"split.narrow.{number}"
        nodes += [
            make_node("Gather", [f"split.user.{number}", "split.places"], [f"split.bias.{number}"], axis=0),
            make_node(
                "Gemm",
                [rest, constant(graph, f"split.rest_weight.{number}", weight), f"split.bias.{number}"],
                [joined],
                transB=1,
            ),
        ]
        if len(outputs) > 1:
            nodes.append(_split(graph, joined, outputs, [len(layer.bias) for layer in group]))
    in_place = {layer.node.output[0]: list[NodeProto]() for layer in layers}
    rewrite(graph, {join.output[0]: [join, *nodes], **in_place})


def _join(graph: GraphProto) -> NodeProto | None:
    """The node that makes x: users' rows gathered for the candidates, beside other columns."""
    made_by = producers(graph)
    node: NodeProto
    for node in graph.node:
        first = made_by.get(node.input[0]) if node.op_type == "Concat" else None
        if first is None or first.op_type != "Gather" or attribute(first, "axis", 0) != 0:
            continue
        index = first.input[1]
        flattened = made_by.get(index)
        if flattened is not None and flattened.op_type == "Reshape":
            index = flattened.input[0]
        if index == _ROWS and attribute(node, "axis", 0) in (1, -1):
            return node
    return None


def _layers(graph: GraphProto, x: str) -> list[_Layer]:
    fixed = constants(graph)
    found = []
    for node in graph.node:
        if not plain_gemm(node) or node.input[0] != x or any(name not in fixed for name in node.input[1:]):
            continue
        weight = numpy_helper.to_array(fixed[node.input[1]])
        # The exporter leaves out a bias that is all zero.
        bias = (
            numpy_helper.to_array(fixed[node.input[2]])
            if len(node.input) > 2
            else np.zeros(len(weight), weight.dtype)
        )
        if bias.shape == (len(weight),):
            found.append(_Layer(node, weight, bias))
    return found


def _places(graph: GraphProto, user: str) -> list[NodeProto]:
    """`split.places`: the user of each candidate; of one user a single place, whose row is broadcast.

    To repeat it for each candidate, and copy it into each product, would cost the more the wider a layer is.
    """
    zero = constant(graph, "split.zero", np.zeros(1, np.int64))
    one = constant(graph, "split.one", np.ones(1, np.int64))
    return [
        make_node("Shape", [user], ["split.users"], start=0, end=1),
        make_node("Equal", ["split.users", one], ["split.alone"]),
        make_node("Shape", [_ROWS], ["split.candidates"]),
        make_node("Where", ["split.alone", one, "split.candidates"], ["split.end"]),
        make_node("Slice", [_ROWS, zero, "split.end", zero], ["split.places"]),
    ]


def _once_a_user(
    graph: GraphProto, user: str, groups: Sequence[Sequence[_Layer]], user_width: int
) -> list[NodeProto]:
    """`split.user.NUMBER` of each group: W_user u + b, [R, H]; one product for all, as R is small."""
    layers = [layer for group in groups for layer in group]
    weight = np.concatenate([layer.weight[:, :user_width] for layer in layers])
    bias = np.concatenate([layer.bias for layer in layers])
    inputs = [
        user,
        constant(graph, "split.user_weight", weight),
        constant(graph, "split.user_bias", bias),
    ]
    outputs = [f"split.user.{number}" for number in range(len(groups))]
    if len(groups) == 1:
        return [make_node("Gemm", inputs, outputs, transB=1)]
    widths = [sum(len(layer.bias) for layer in group) for group in groups]
    return [
        make_node("Gemm", inputs, ["split.user"], transB=1),
        _split(graph, "split.user", outputs, widths),
    ]


def _add_experts_up(graph: GraphProto) -> None:
    """ReduceSum(Unsqueeze(weights) * Concat(Unsqueeze(expert), ...)), as `fuse` gives, to a chain of sums."""
    made_by, fixed = producers(graph), constants(graph)
    in_place: dict[str, list[NodeProto]] = {}

    def unsqueezed(name: str, axis: int) -> str | None:
        node = made_by.get(name)
        if node is None or node.op_type != "Unsqueeze" or not _is(fixed, node.input[1], axis):
            return None
        return str(node.input[0])

    for node in graph.node:
        product = made_by.get(node.input[0]) if node.op_type == "ReduceSum" else None
        if product is None or product.op_type != "Mul" or attribute(node, "keepdims", 1) != 0:
            continue
        stack = made_by.get(product.input[1])
        if len(node.input) < 2 or not _is(fixed, node.input[1], 1) or stack is None:
            continue
        weights = unsqueezed(product.input[0], -1)
        experts = [unsqueezed(name, 1) for name in stack.input]
        if stack.op_type != "Concat" or attribute(stack, "axis", 0) != 1 or weights is None:
            continue
        known = [expert for expert in experts if expert is not None]
        if len(known) < max(2, len(experts)):
            continue
        in_place[node.output[0]] = _chain(graph, weights, known, node.output[0])
    rewrite(graph, in_place)


def _chain(graph: GraphProto, weights: str, experts: Sequence[str], output: str) -> list[NodeProto]:
    """The sum over e of weights[:, e] * expert e: [N, E] and E of [N, W] -> [N, W]."""
    columns = [f"{output}.weight.{place}" for place in range(len(experts))]
    nodes = [_split(graph, weights, columns, [1] * len(experts))]
    total = ""
    for place, (column, expert) in enumerate(zip(columns, experts, strict=True)):
        term = f"{output}.term.{place}"
        nodes.append(make_node("Mul", [column, expert], [term]))
        if place:
            after = output if place == len(experts) - 1 else f"{output}.sum.{place}"
            nodes.append(make_node("Add", [total, term], [after]))
            total = after
        else:
            total = term
    return nodes


@dataclass(frozen=True)
class _Lookup:
    """An embedding of one column of ids, by the value it makes."""

    value: str
    ids: str
    column: int
    table: npt.NDArray[np.float32]


def _look_up_at_once(graph: GraphProto) -> None:
    """Embeddings that stand side by side, of neighbouring columns of ids, from one table under the other.

    An id beyond its own feature's table stays an error: it is sent beyond the end of the whole.
    """
    in_place: dict[str, list[NodeProto]] = {}
    lookups = _lookups(graph)
    for node in graph.node:
        if node.op_type != "Concat" or attribute(node, "axis", 0) not in (1, -1):
            continue
        inputs, nodes = [], list[NodeProto]()
        runs = _runs([lookups.get(name, name) for name in node.input])
        for place, run in enumerate(runs):
            if isinstance(run, str):
                inputs.append(run)
            else:
                inputs.append(f"{node.output[0]}.lookups.{place}" if len(runs) > 1 else node.output[0])
                nodes += _lookup_nodes(graph, run, inputs[-1])
        if nodes:
            joined = [make_node("Concat", inputs, node.output, axis=1)] if len(runs) > 1 else []
            in_place[node.output[0]] = [*nodes, *joined]
    rewrite(graph, in_place)


def _lookups(graph: GraphProto) -> dict[str, _Lookup]:
    """Of tables and values that are read once."""
    made_by, fixed = producers(graph), constants(graph)
    reads = Counter(name for node in graph.node for name in node.input)
    found = {}
    for node in graph.node:
        if node.op_type != "Gather" or node.input[0] not in fixed or attribute(node, "axis", 0) != 0:
            continue
        squeezed = made_by.get(node.input[1])
        split = made_by.get(squeezed.input[0]) if squeezed is not None else None
        if squeezed is None or split is None or (squeezed.op_type, split.op_type) != ("Squeeze", "Split"):
            continue
        table = numpy_helper.to_array(fixed[node.input[0]])
        widths = numpy_helper.to_array(fixed[split.input[1]]) if split.input[1] in fixed else np.zeros(0)
        place = list(split.output).index(squeezed.input[0])
        plain = attribute(split, "axis", 0) == 1 and _is(fixed, squeezed.input[1], 1)
        once = reads[node.input[0]] == reads[node.output[0]] == 1
        if plain and once and table.ndim == 2 and (widths[: place + 1] == 1).all():
            found[node.output[0]] = _Lookup(node.output[0], split.input[0], place, table)
    return found


def _runs(parts: Sequence[_Lookup | str]) -> list[Sequence[_Lookup] | str]:
    """Lookups that go together, two or more, and what is left as it is, in the given order."""
    runs: list[list[_Lookup] | str] = []
    for part in parts:
        last = runs[-1] if runs else ""
        if isinstance(part, str):
            runs.append(part)
        elif (
            isinstance(last, list)
            and (last[-1].ids, last[-1].column + 1) == (part.ids, part.column)
            and last[-1].table.shape[1] == part.table.shape[1]
        ):
            last.append(part)
        else:
            runs.append([part])
    return [run if isinstance(run, str) or len(run) > 1 else run[0].value for run in runs]


def _lookup_nodes(graph: GraphProto, run: Sequence[_Lookup], value: str) -> list[NodeProto]:
    """`value`: C columns of ids [N, C] to their embeddings side by side [N, C * width]."""
    sizes = np.array([len(lookup.table) for lookup in run], np.int64)
    first, width = run[0].column, run[0].table.shape[1]

    def fixed(name: str, content: npt.ArrayLike, dtype: npt.DTypeLike = np.int64) -> str:
        return constant(graph, f"{value}.{name}", np.asarray(content, dtype))

    part = [run[0].ids, fixed("first", [first]), fixed("end", [first + len(run)]), fixed("axis", [1])]
    below = [f"{value}.ids", fixed("offsets", np.cumsum(sizes) - sizes)]
    table = fixed("table", np.concatenate([lookup.table for lookup in run]), np.float32)
    return [
        make_node("Slice", part, [f"{value}.ids"]),
        make_node("Less", [f"{value}.ids", fixed("sizes", sizes)], [f"{value}.known"]),
        make_node("Add", below, [f"{value}.moved"]),
        make_node(
            "Where", [f"{value}.known", f"{value}.moved", fixed("beyond", sizes.sum())], [f"{value}.places"]
        ),
        make_node("Gather", [table, f"{value}.places"], [f"{value}.rows"], axis=0),
        make_node("Reshape", [f"{value}.rows", fixed("shape", [0, len(run) * width])], [value]),
    ]


def _is(fixed: Mapping[str, TensorProto], name: str, value: int) -> bool:
    return name in fixed and numpy_helper.to_array(fixed[name]).tolist() == [value]


def _split(graph: GraphProto, joined: str, parts: Sequence[str], widths: Sequence[int]) -> NodeProto:
    sizes = constant(graph, f"{parts[0]}.widths", np.array(widths, np.int64))
    return make_node("Split", [joined, sizes], parts, axis=1)
