import copy
from pathlib import Path
from typing import Any

import pytest

from benchmarks.serving.plot import draw
from benchmarks.serving.report import BEGIN, END, goals, losses, put_into, sheets


def _calls(**milliseconds: float) -> dict[str, Any]:
    return {
        size.removeprefix("n"): {"n": 200, "p50_ms": ms, "p99_ms": 2 * ms, "p999_ms": 3 * ms}
        for size, ms in milliseconds.items()
    }


def _contender(what: str, *, ours: bool, scale: float, rps: float, **others: Any) -> dict[str, Any]:
    return {
        "what": what,
        "ours": ours,
        "exact": True,
        "overlap": 1.0,
        "startup_s": 1.0,
        "private_mb": 100.0,
        "processes": 1,
        "calls": _calls(n200=10 * scale, n500=25 * scale),
        "saturation": {"500": {"rps": rps, "turns": [rps]}},
        "open": {
            "candidates": 500,
            "rate": 0.7 * rps,
            "n": 900,
            "failed": 0,
            "p50_ms": 30.0,
            "p99_ms": 60.0,
            "p999_ms": 90.0,
            "p99_over_ideal": 1.2,
            "ideal_p50_ms": 25.0,
            "ideal_p99_ms": 50.0,
            "ideal_p999_ms": 70.0,
        },
        **others,
    }


STAGES = {"wait": 0.5, "features": 1.0, "network": 14.0, "respond": 0.5}
MADE = {
    "machine": "A",
    "when": "2026-11-25T03",
    "load_average_before": 0.1,
    "quick": False,
    "onnxruntime": "1",
}
RESULT: dict[str, Any] = {
    "made": MADE,
    "gemm_gflops": {"onnxruntime": 100.0, "BLAS": 90.0},
    "flops": {"standard": {"200": 800e6, "500": 2000e6}, "lowered": {"200": 500e6, "500": 1250e6}},
    "bare": {"standard": _calls(n200=10.0, n500=25.0), "lowered": _calls(n200=6.0, n500=15.0)},
    "saturation_sizes": ["500"],
    "open_candidates": 500,
    "contenders": {
        "fulcrum": _contender("Fulcrum", ours=True, scale=0.7, rps=60.0),
        "slow": _contender("Slow", ours=False, scale=1.2, rps=30.0, startup_s=0.5),
        "fast": _contender("Fast", ours=False, scale=1.1, rps=36.0, private_mb=300.0),
    },
    "stages": {"embedded": {"500": {"bare_ms": 25.0, "call_ms": 18.0, "stages_ms": STAGES}}},
}


def test_the_table_gives_calls_over_the_bare_run_and_arrivals_over_the_ideal_queue():
    main = sheets(RESULT)[0]
    assert main.columns == ("", "200", "500", "500, req/s", "p99 / ideal", "private MB", "start-up, s")
    assert main.rows[0] == ("Fulcrum", "0.70", "0.70", "60.0", "1.20", "100", "1.0")
    assert main.rows[2] == ("Fast", "1.10", "1.10", "36.0", "1.20", "300", "1.0")
    assert main.markdown().splitlines()[4] == "| Fulcrum | 0.70 | 0.70 | 60.0 | 1.20 | 100 | 1.0 |"


def test_the_network_is_held_against_the_best_library():
    network = next(sheet for sheet in sheets(RESULT) if sheet.title.startswith("The network"))
    # 2,000 MFLOP in 25 ms are 80 GFLOP/s of 100; 1,250 in 15 ms are 83.
    assert network.rows[1] == ("500", "25.00", "2,000", "80 (80%)", "15.00", "1,250", "83 (83%)", "0.60")


def test_stages_are_shares_of_the_bare_run():
    assert sheets(RESULT)[-1].rows == (
        ("embedded", "500", "0.50", "1.00", "14.00", "0.50", "2.00", "18.00", "78%", "8%", "16%"),
    )


def test_goals_say_what_was_met_and_what_was_missed():
    assert [(round(goal.found, 2), goal.met) for goal in goals(RESULT)] == [
        (0.70, True),
        (1.67, True),
        (1.0, True),
        (1.20, True),
        (0.16, False),
    ]


def test_a_variant_is_held_to_the_variants_goals_and_shows_its_overlap():
    result = copy.deepcopy(RESULT)
    result["contenders"]["fulcrum"] |= {"exact": False, "overlap": 0.981}
    assert sheets(result)[0].rows[0][0] == "Fulcrum (top-50 overlap 0.981)"
    assert [goal.met for goal in goals(result)][:2] == [False, False]


def test_where_a_peer_is_ahead_is_said_and_few_calls_make_no_99th_percentile():
    assert losses(RESULT) == ["start-up: slow 0.5 s, fulcrum 1.0"]
    result = copy.deepcopy(RESULT)
    for each in result["contenders"].values():
        each["calls"]["500"]["n"] = 20
    result["contenders"]["slow"]["calls"]["500"]["p99_ms"] = 1.0
    assert losses(result) == losses(RESULT)


def test_figures_take_the_place_of_older_ones_in_documentation():
    once = put_into(f"before\n{BEGIN}\nold\n{END}\nafter\n", RESULT)
    assert once.startswith(f"before\n{BEGIN}\n")
    assert once.endswith(f"{END}\nafter\n")
    assert "old" not in once
    assert (
        "- MISSED: embedded, 500: the call outside the network over the bare run: 0.16 (at most 0.10)" in once
    )
    assert put_into(once, RESULT) == once
    with pytest.raises(ValueError, match="no place for figures"):
        put_into("nothing", RESULT)


def test_the_documentation_has_a_place_for_figures():
    text = (Path(__file__).parents[2] / "docs" / "performance.md").read_text()
    assert text.count(BEGIN) == text.count(END) == 1


@pytest.mark.slow
def test_the_same_figures_give_the_same_plot(tmp_path: Path):
    draw(RESULT, tmp_path / "one.svg")
    draw(RESULT, tmp_path / "other.svg")
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "other.svg").read_bytes()
