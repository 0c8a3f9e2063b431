from dataclasses import replace

import numpy as np
import pytest

from model.errors import FulcrumError
from model.fusion import LogPower, PricedTask, TaskTerm, WeightedSum
from tests.support.world_logs import TASKS, WorldRequests, by_truth
from tests.training.tuning.test_exposure import CONFIG, exploring
from training.simulation import World, WorldConfig
from training.tuning import tuning
from training.tuning.diff import Side
from training.tuning.examination import looks_of
from training.tuning.exposure import Exposure
from training.tuning.found_folder import FoundFolder
from training.tuning.offline import declared_looks
from training.tuning.parts import Parts, parted
from training.tuning.problem import Found, Tried
from training.tuning.tuned_details import sensitivity
from training.tuning.tuning import Plan, tune, value_of

WATCHING = WeightedSum(tasks={"vtr": PricedTask(price=1.0)})
PLAN = Plan("default", TASKS, methods=("least_squares",))


@pytest.fixture(scope="module", autouse=True)
def _few_draws():
    """Of the noise law, as nothing here depends on them."""
    logged = Exposure.logged
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Exposure, "logged", lambda self, **given: logged(self, **{**given, "draws": 24}))
        yield


@pytest.fixture(scope="module")
def log():
    """Of 4,500 requests under weights that explored, in a world whose reward is additive."""
    visits = WorldRequests.of(World.create(WorldConfig(users=1_500, items=400, days=1)), 4_500, by_truth(0.3))
    return visits.log(exploring(CONFIG), np.random.default_rng(0))


@pytest.fixture(scope="module")
def parts(log):
    return parted(log.outcomes)


@pytest.fixture(scope="module")
def current():
    return Side("current", exploring(CONFIG))


@pytest.fixture
def methods(monkeypatch):
    """Put methods in place of those that there are; each finds a weighted sum."""

    def put(**found):
        monkeypatch.setattr(tuning, "METHODS", found)
        monkeypatch.setattr(tuning, "AUTO", tuple(found))
        monkeypatch.setattr(tuning, "FORMULAS", dict.fromkeys(found, ("weighted_sum",)))

    return put


def finds(*tasks):
    """A method that finds a sum of these."""
    scene = WeightedSum(tasks={task: PricedTask(price=1.0) for task in tasks})
    return lambda problem, observer: problem.found("made", scene)


@pytest.fixture(scope="module")
def found(parts, current):
    return tune(parts, looks_of(parts.search), current, PLAN)


def test_a_better_fusion_is_found_and_judged_on_users_that_no_search_saw(log, parts, current, found):
    value = value_of(found.chosen.found, log.visits.requests)
    gain = log.visits.true_values(value).mean() / log.visits.true_value(current.config) - 1.0
    low, high = found.forecast.interval
    assert gain > 0.03
    assert low < gain < high
    assert found.estimate.diagnostics["requests"] == len(parts.verdict)
    assert (found.verdict == "better") == (low > 0.0)
    assert found.estimate.refused  # no weighted sum ranked here
    assert any("the log alone cannot say" in doubt for doubt in found.doubts)


def test_the_scene_takes_the_place_of_the_old_one_and_explores_as_it_did(current, found):
    old, new = (config.scenes["default"] for config in (current.config, found.chosen.config))
    assert new.formula == "weighted_sum"
    assert new.explore == old.explore is not None


def test_where_rewards_have_nothing_to_do_with_items_nothing_is_better(log, current):
    outcomes, random = log.outcomes, np.random.default_rng(3)
    reward = outcomes.reward.copy()
    for place in range(outcomes.slots):
        rows = np.flatnonzero(outcomes.position == place)
        reward[rows] = reward[random.permutation(rows)]
    parts = parted(replace(outcomes, reward=reward))
    found = tune(parts, looks_of(parts.search), current, PLAN)
    assert found.verdict == "nothing_better"
    assert found.reasons == ("the interval of its forecast holds 0 or less: chance would do",)


def test_of_what_methods_find_the_best_is_chosen_and_one_that_cannot_run_is_left_out(parts, current, methods):
    def refuses(problem, observer):
        raise FulcrumError("needs a library")

    methods(watching=finds("vtr"), none=refuses, sharing=finds("shr", "cmr"))
    looks = looks_of(parts.search, 0.9)
    found = tune(parts, looks, current, replace(PLAN, methods=None))
    gains = [one.gain for one in found.candidates]
    assert gains == sorted(gains, reverse=True)
    assert found.chosen is found.candidates[0]
    assert found.failed == {"none": "needs a library"}
    with pytest.raises(FulcrumError, match="needs a library"):
        tune(parts, looks, current, replace(PLAN, methods=("none",)))


def test_what_keeps_its_rates_comes_before_what_gains_more(parts, current, methods):
    methods(watching=finds("vtr"), sharing=finds("shr", "cmr"))
    looks = looks_of(parts.search, 0.9)
    plan = replace(PLAN, methods=None, keep={"vtr": 0.0})
    found = tune(parts, looks, current, plan)
    assert found.chosen.found.scene == WATCHING
    assert [list(one.missed) for one in found.candidates] == [[], ["vtr"]]
    alone = tune(parts, looks, current, replace(plan, methods=("sharing",)))
    assert alone.verdict == "nothing_better"
    assert any(reason.startswith("vtr would change by -") for reason in alone.reasons)


def test_what_was_found_is_found_again_in_its_folder_for_the_same_requests_alone(
    parts, current, methods, tmp_path
):
    asked = []

    def counted(problem, observer):
        asked.append(len(problem.outcomes))
        scene = LogPower(tasks={"vtr": TaskTerm(weight=1.0, smoothing=0.3)})
        return replace(problem.found("made", scene, ("odd",)), front=(Tried(scene, 1.0, 2.0),))

    methods(counted=counted)
    looks, plan = looks_of(parts.search, 0.9), replace(PLAN, methods=None)
    first, second = (
        tune(parts, looks, current, plan, FoundFolder(tmp_path, parts.search, "settings")) for _ in range(2)
    )
    assert len(asked) == 1
    assert vars(second.chosen.found) == vars(first.chosen.found)
    other = replace(parts, search=replace(parts.search, reward=parts.search.reward * 2.0))
    tune(other, looks, current, plan, FoundFolder(tmp_path, other.search, "settings"))
    assert len(asked) == 2


def test_a_network_is_remembered_with_its_bytes(parts, tmp_path):
    folder = FoundFolder(tmp_path, parts.search, "")
    fallback = LogPower(tasks={"vtr": TaskTerm(weight=1.0)})
    found = Found("trees", WATCHING, 1.5, ("a doubt",), b"\x00onnx", fallback)
    folder.write("trees", "model", found)
    assert vars(folder.read("trees", "model")) == vars(found)
    (tmp_path / "trees-model.json").write_text("{}")
    assert folder.read("trees", "model") is None


def test_groups_that_nothing_was_served_to_are_judged_by_what_came_of_them(parts, current):
    """Rewards of rows count as they are: the order by what they bring is the best, and gains for certain."""
    offline = Parts(*(replace(part, configs={}) for part in (parts.search, parts.verdict)), how="by user")
    found = tune(offline, declared_looks(5, 0.8), current, PLAN)
    shown = np.zeros(len(parts.search.requests.item))
    shown[parts.search.at] = parts.search.reward
    np.testing.assert_array_equal(found.problem.objective.worth, shown)
    assert not found.estimate.refused
    assert found.forecast.interval[0] < found.forecast.difference < found.forecast.interval[1]
    assert found.logged is None
    assert any(doubt.startswith("rows that were shown are ordered again") for doubt in found.doubts)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (Plan("default", TASKS, methods=("guess",)), "--method guess: expected "),
        (Plan("default", TASKS, formulas=("sum",)), "--formula sum: expected "),
        (
            Plan("default", TASKS, methods=("least_squares",), formulas=("log_power",)),
            "--method least_squares: finds weighted_sum, and --formula asks for log_power",
        ),
    ],
)
def test_methods_and_formulas_that_there_are_not_are_refused(plan, message, methods, monkeypatch):
    methods(least_squares=finds("vtr"), search=finds("vtr"))
    monkeypatch.setitem(tuning.FORMULAS, "search", ("log_power",))
    with pytest.raises(FulcrumError, match=message):
        plan.runs()


def test_a_reward_that_is_below_0_in_the_mean_is_refused(parts, current):
    costs = replace(parts, search=replace(parts.search, reward=-parts.search.reward))
    with pytest.raises(FulcrumError, match="expected one above 0, of which gains are fractions"):
        tune(costs, looks_of(parts.search, 0.9), current, PLAN)


def test_a_sensitivity_is_the_gain_where_one_parameter_is_another(found):
    (one, *_) = sensitivity(found.problem, found.chosen.found.scene)
    own = next(point for point in one["points"] if point["factor"] == 1.0)
    assert own["gain"] == pytest.approx(found.chosen.gain, abs=1e-12)
    assert {round(point["gain"], 9) for point in one["points"]} != {round(own["gain"], 9)}
