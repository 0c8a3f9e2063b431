import numpy as np
import pytest

from model.errors import FulcrumError
from model.fusion import LogPower, PricedTask, TaskTerm, WeightedSum
from model.fusion.lengths import LogLength
from tests.support.tuning_problems import additive_problem, gain_share, made_problem
from training.tuning.forms import KINDS, forms_of, product
from training.tuning.objective import scored
from training.tuning.prices import prices_of

INCUMBENT = LogPower(
    tasks={"vtr": TaskTerm(weight=0.5, smoothing=0.1), "shr": TaskTerm(weight=0.3, smoothing=0.002)},
    video_len=LogLength(scale_s=12.0, weight=0.2, missing=0.7),
)


def forms(problem):
    return forms_of(problem, prices_of(problem))


@pytest.mark.parametrize("formula", ["log_power", "weighted_sum"])
def test_every_kind_starts_far_above_the_order_in_force(formula):
    problem = additive_problem(formula=formula)

    found = forms(problem)

    assert tuple(found) == KINDS
    for form in found.values():
        assert gain_share(problem, problem.objective.value(form.scene(form.starts[0]))) > 0.6


def test_where_only_weights_are_searched_all_else_is_the_incumbents():
    problem = additive_problem(500, incumbent=INCUMBENT, smoothing=False)

    ((kind, form),) = forms(problem).items()
    scene = form.scene(np.full(len(form.dials), 0.8))

    assert kind == "log"
    assert {dial.name.split(" of ")[0] for dial in form.dials} == {"weight"}
    assert {task: term.smoothing for task, term in scene.tasks.items()} == {"vtr": 0.1, "shr": 0.002}
    assert (scene.video_len.scale_s, scene.video_len.missing) == (12.0, 0.7)


def test_weights_sum_to_what_the_incumbents_do_and_the_factor_changes_no_order():
    problem = additive_problem(500, incumbent=INCUMBENT)
    smoothings = {"vtr": 0.1, "shr": 0.01}

    one, tenfold = (
        product(
            problem, {"vtr": 2.0 * by, "shr": -1.0 * by}, smoothings, LogLength(scale_s=9.0, weight=0.5 * by)
        )
        for by in (1.0, 10.0)
    )

    assert sum(abs(weight) for weight in one.weights.values()) == pytest.approx(0.8)
    assert one.video_len.weight == pytest.approx(0.8 / 3.0 * 0.5)
    requests = problem.outcomes.requests
    np.testing.assert_allclose(scored(one, requests), scored(tenfold, requests), rtol=1e-12)


def test_a_search_starts_at_the_incumbent_too():
    problem = additive_problem(500, incumbent=INCUMBENT)

    _, at = forms(problem)["log"].starts

    again = forms(problem)["log"].scene(at)
    assert again.weights == pytest.approx(INCUMBENT.weights, rel=0.01)
    assert again.smoothings == pytest.approx(INCUMBENT.smoothings, rel=0.01)
    assert again.video_len.weight == pytest.approx(0.2, rel=0.01)
    assert again.video_len.scale_s == pytest.approx(12.0, rel=0.01)
    assert len(forms(problem)["sigmoid"].starts) == 1  # which it is not


def test_a_sum_in_force_is_a_start_of_sums():
    old = WeightedSum(
        tasks={"vtr": PricedTask(price=1.0, price_per_s=0.02), "shr": PricedTask(price=30.0)},
        missing_s=20.0,
    )
    problem = additive_problem(incumbent=old, formula="weighted_sum")

    for form in forms(problem).values():
        _, at = form.starts
        order = scored(form.scene(at), problem.outcomes.requests)
        assert problem.objective.per_request(order).mean() == pytest.approx(
            problem.objective.per_request(problem.current).mean(), rel=1e-3
        )


def test_a_dial_at_an_end_is_a_doubt_and_one_inside_is_none():
    form = forms(additive_problem(500))["log"]
    at = np.full(len(form.dials), 0.5)
    at[0], at[-1] = 1.0, 0.0

    assert form.at_ends(at) == (
        f"the {form.dials[0].name} stands at the high end of what is searched",
        f"the {form.dials[-1].name} stands at the low end of what is searched",
    )


def test_a_log_without_lengths_has_no_dials_of_the_length():
    problem = made_problem(lambda p, seconds: p["vtr"] + 40.0 * p["shr"], 500)
    problem.outcomes.requests.video_len_s[:] = np.nan

    ((kind, form),) = forms(problem).items()

    assert kind == "none"
    assert not any("length" in dial.name for dial in form.dials)
    assert form.scene(form.starts[0]).video_len.kind == "none"


def test_a_formula_that_is_not_searched_is_refused():
    with pytest.raises(FulcrumError, match=r"formula model: a search finds log_power or weighted_sum"):
        forms(additive_problem(500, formula="model"))
