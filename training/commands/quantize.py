"""`fulcrum quantize`: a bundle's variant in 8-bit integers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from model.errors import FulcrumError
from model.terminal import BundlePath, Data, Json, answer, extra, print_json, progress
from training.commands.rendering import Rendered

if TYPE_CHECKING:
    from training.export.variant_gate import VariantGate


def quantize(
    bundle: BundlePath,
    data: Data = None,
    json: Json = False,
) -> None:
    """Add the variant int8 to a bundle: the same network in 8-bit integers, twice as fast if it is large.

    Calibrated on rows that the bundle was trained on, judged on rows that it
    was not: what each task and the order of a fused top 50 lose must surely be
    next to nothing, or it does not serve. The bundle keeps its version. Serve
    it by `fulcrum serve --variant auto`; docs/variants.md says what is measured.
    """
    with extra("training"):
        from training.export.quantization import INT8
        from training.export.variants import quantize_bundle
    from model.bundle import load_bundle

    with Rendered() as observer:
        entry, gate = quantize_bundle(load_bundle(bundle), data, observer)
    if json:
        print_json(entry.model_dump(mode="json"))
    else:
        answer.print(gate_table(gate))
        answer.print(
            f"{entry.speedup:.2f} times as fast as float32 here (500 candidates, one thread); "
            f"the best 50 of {gate.requests} requests have {gate.overlap:.1%} in common",
            highlight=False,
            soft_wrap=True,
        )
    if not entry.passed:
        failed = ", ".join(check.name for check in gate.failures)
        raise FulcrumError(
            f"bundle {bundle}: {INT8} does not pass its gate ({failed}); the bundle serves fp32 as before"
        )
    progress.print(f"{bundle} has the variant {INT8}: fulcrum serve --variant auto", soft_wrap=True)


def gate_table(gate: VariantGate) -> Table:
    """What the variant loses, a row per check."""
    table = Table("gate", "loss [95 %]", "at most", "")
    for check in gate.checks:
        shape, most = ("+.3%", ".1%") if check.share else ("+.5f", ".4f")
        low, high = check.interval
        interval = f" [{low:{shape}}, {high:{shape}}]" if low != high else ""
        table.add_row(
            f"{check.name}: {check.meaning}",
            f"{check.loss:{shape}}{interval}",
            f"{check.most:{most}}",
            check.verdict,
        )
    return table
