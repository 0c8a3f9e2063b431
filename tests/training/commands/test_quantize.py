"""`fulcrum quantize`: what the gate's table shows."""

from __future__ import annotations

from rich.console import Console

from training.commands.quantize import gate_table
from training.export.variant_gate import Check, VariantGate


def test_the_gates_table_has_each_check_in_its_own_unit():
    checks = [
        Check("vtr.auc", 0.0004, (0.0003, 0.0006), 0.0005, "AUC lost", share=False),
        Check("shr.drift", 0.06, (0.06, 0.06), 0.05, "noise in log-odds"),
    ]
    console = Console(width=160, no_color=True)
    with console.capture() as capture:
        console.print(gate_table(VariantGate(checks, 1000, 7, 0.9)))
    first, second = [line for line in capture.get().splitlines() if "vtr.auc" in line or "shr.drift" in line]
    assert "+0.00040 [+0.00030, +0.00060]" in first
    assert "undecided: more rows are needed" in first
    assert "+6.000%" in second
    assert "[" not in second
    assert "failed" in second
