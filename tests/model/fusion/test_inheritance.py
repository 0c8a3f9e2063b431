"""What scenes and segments take over, and documents that ask for too much."""

import pytest

from model.fusion import Explore, FusionError, PricedTask, WeightedSum, parse_fusion, version
from model.fusion.lengths import NoLength

BASE = """
schema_version: 1
scenes:
  default:
    formula: weighted_sum
    tasks: {vtr: {price: 1, a: 0.5}, shr: {price: 9}}
    video_len: {kind: log, scale_s: 30, weight: 0.5}
    combine: plus
    calibration: {shr: {map: {kind: platt, a: -0.1, b: 0.9}}}
    explore: {share: 0.05, noise: 0.2}
"""
DEFAULT = """
formula: weighted_sum, tasks: {vtr: {price: 1, a: 0.5}, shr: {price: 9}}, combine: plus,
video_len: {kind: log, scale_s: 30, weight: 0.5}, explore: {share: 0.05, noise: 0.2},
calibration: {shr: {map: {kind: platt, a: -0.1, b: 0.9}}}
"""


def heir(settings):
    return parse_fusion(f"{BASE}  feed: {{base: default, {settings}}}\n")


@pytest.mark.parametrize(
    ("settings", "written_out"),
    [
        ("", DEFAULT),
        ("tasks: {shr: {price: 6}}", DEFAULT.replace("price: 9", "price: 6")),
        ("tasks: {vtr: {a: 0.25}}", DEFAULT.replace("a: 0.5", "a: 0.25")),
        ("video_len: {weight: 0}", DEFAULT.replace("30, weight: 0.5", "30, weight: 0")),
        ("video_len: {kind: log, weight: 0}", DEFAULT.replace("30, weight: 0.5", "30, weight: 0")),
        (
            "video_len: {kind: lognormal, mode_s: 9, sigma: 1}",
            DEFAULT.replace("kind: log, scale_s: 30, weight: 0.5", "kind: lognormal, mode_s: 9, sigma: 1"),
        ),
        (
            "calibration: {shr: {map: {kind: isotonic, points: [[0, 0], [1, 1]]}}}",
            DEFAULT.replace("kind: platt, a: -0.1, b: 0.9", "kind: isotonic, points: [[0, 0], [1, 1]]"),
        ),
        ("explore: null", DEFAULT.replace("explore: {share: 0.05, noise: 0.2},", "")),
        ("calibration: null", DEFAULT[: DEFAULT.index("calibration")]),
        ("explore: {share: 0.1}", DEFAULT.replace("0.05", "0.1")),
        ("combine: times", DEFAULT.replace("plus", "times")),
        (
            "formula: rank_ensemble, tasks: {vtr: {weight: 1}}",
            "formula: rank_ensemble, tasks: {vtr: {weight: 1}}, video_len: {kind: log, scale_s: 30, weight: "
            "0.5}, explore: {share: 0.05, noise: 0.2}, calibration: {shr: {map: {kind: platt, a: -0.1, "
            "b: 0.9}}}",
        ),
    ],
)
def test_what_is_not_said_is_the_bases_and_the_version_is_that_of_what_is_meant(settings, written_out):
    config = heir(settings)
    assert version(config) == version(parse_fusion(f"{BASE}  feed: {{{written_out}}}\n"))


def test_a_base_may_have_a_base_wherever_it_stands_in_the_file():
    chain = "  c: {base: b, tasks: {vtr: {a: 3}}}\n  b: {base: default, tasks: {vtr: {price: 2}}}\n"
    term = parse_fusion(BASE + chain).scenes["c"].tasks["vtr"]
    assert (term.price, term.a) == (2.0, 3.0)
    ten = "".join(f"  s{k}: {{base: {f's{k - 1}' if k else 'default'}}}\n" for k in range(9))
    assert parse_fusion(BASE + ten).scenes["s8"] == parse_fusion(BASE).scenes["default"]


def test_default_itself_may_have_a_base():
    text = "schema_version: 1\nscenes: {default: {base: feed}, feed: {tasks: {vtr: {weight: 2}}}}"
    assert parse_fusion(text).scenes["default"].tasks["vtr"].weight == 2.0


def test_a_task_named_kind_is_a_task():
    text = """
schema_version: 1
scenes:
  default: {tasks: {kind: {weight: 1}, vtr: {weight: 2}}}
  feed: {base: default, tasks: {kind: {weight: 3}}}
"""
    assert parse_fusion(text).scenes["feed"].weights == {"kind": 3.0, "vtr": 2.0}


def many(count, scene):
    return "".join(f"  s{k}: {scene}\n" for k in range(count))


LARGE = "{" + ", ".join(f"t{k}: {{price: 1}}" for k in range(2000)) + "}"


@pytest.mark.parametrize(
    ("scenes", "message"),
    [
        ("  feed: {base: defualt}\n", "scenes.feed.base: unknown scene 'defualt'; there are default, feed"),
        ("  feed: {base: 3}\n", "scenes.feed.base: unknown scene 3; there are"),
        ("  feed: {base: null}\n", "scenes.feed.base: unknown scene null; there are"),
        ("  feed: {base: [default]}\n", "scenes.feed.base: unknown scene a list of 1; there are"),
        ("  feed: {base: {default: 1}}\n", "scenes.feed.base: unknown scene a mapping; there are"),
        ("  feed: {base: feed}\n", "scenes.feed.base: 'feed' leads back to itself; expected no circle"),
        (
            "  a: {base: b}\n  b: {base: c}\n  c: {base: b}\n",
            "scenes.c.base: 'b' leads back to itself; expected no circle",
        ),
        (
            "".join(f"  s{k}: {{base: s{k + 1}}}\n" for k in range(12)) + "  s12: {base: default}\n",
            "more than 10 scenes one upon the other; expected fewer",
        ),
        (many(2500, "{base: defualt}"), "s48, and 2451 more"),
        (
            f"  a: {{base: default, tasks: {LARGE}}}\n"
            + "".join(f"  b{k}: {{base: a}}\n" for k in range(600)),
            "scenes take more than 1024 KiB with what they inherit; expected less",
        ),
        (
            "  a: {base: default, segments: [" + "{}," * 9000 + "]}\n",
            "scenes.a.segments: expected at most 100 values, found a list of 9000",
        ),
        ("  feed: {formula: rank_ensemble, base: default}\n", "scenes.feed.tasks: required, but absent"),
        (
            "  feed: {formula: rank_ensemble, base: default, combine: plus, tasks: {}}\n",
            "scenes.feed.combine: unknown key; known keys are formula, video_len, calibration, explore",
        ),
        ("  feed: {base: default, tasks: null}\n", "scenes.feed.tasks: required, but absent"),
        (
            f"  feed: {{base: default, tasks: {{vtr: {{price: 1{'0' * 40}}}}}}}\n",
            "scenes.feed.tasks.vtr.price: expected a number of at most 1000000, found 1000",
        ),
        (
            f"  feed: {{base: default, tasks: {{vtr: {{price: 1{'0' * 400}}}}}}}\n",
            "scenes.feed.tasks.vtr.price: expected a number, found 1000",
        ),
    ],
)
def test_a_document_that_asks_for_too_much_is_one_clear_line(scenes, message):
    with pytest.raises(FusionError) as refusal:
        parse_fusion(BASE + scenes)
    said = str(refusal.value)
    assert message in said
    assert len(said.splitlines()) == 1
    assert len(said) < 1000


def test_a_base_that_is_no_scene_is_named_once_where_it_stands():
    with pytest.raises(FusionError, match=r"scenes\.default: expected a mapping, found 3"):
        parse_fusion("schema_version: 1\nscenes: {default: 3, feed: {base: default}}")


def test_null_takes_away_what_the_base_has():
    base = (
        "schema_version: 1\nscenes:\n  default:\n    formula: weighted_sum\n"
        "    tasks: {vtr: {price: 1.0, price_per_s: 0.5}, cmr: {price: 2.0}}\n    longest_s: 30.0\n"
        "    video_len: {kind: log, scale_s: 9.0}\n    explore: {share: 0.5, noise: 0.1, unit: user_week}\n"
        "    calibration: {vtr: {map: {kind: platt, a: 0.5}}, cmr: {map: {kind: platt, a: 0.5}}}\n"
    )
    heir = (
        "  feed: {base: default, tasks: {cmr: null, vtr: {price_per_s: null}}, longest_s: null,\n"
        "    video_len: null, explore: {unit: null}, calibration: {cmr: null}}\n"
        "  learned: {base: default, formula: model, file: a.onnx, sha256: "
        f"{'ab' * 32},\n    inputs: [vtr], fallback: product, explore: null, video_len: null, "
        "calibration: null}\n"
        "  product: {tasks: {vtr: {weight: 1.0}}}\n"
    )
    scenes = parse_fusion(base + heir).scenes
    feed = scenes["feed"]
    assert isinstance(feed, WeightedSum)
    assert feed.tasks == {"vtr": PricedTask(price=1.0)}
    assert (feed.longest_s, feed.video_len) == (600.0, NoLength())
    assert feed.explore == Explore(share=0.5, noise=0.1)
    assert list(feed.calibration or ()) == ["vtr"]
    assert scenes["learned"].explore is None


def test_a_segment_may_take_away_a_task_and_the_length():
    text = (
        "schema_version: 1\nscenes: {default: {tasks: {vtr: {weight: 1}, shr: {weight: 2}}, "
        "video_len: {kind: log, scale_s: 9}, "
        "segments: [{name: one, when: {tab: a}, tasks: {shr: null}, video_len: null}]}}"
    )
    held, name = parse_fusion(text).scenes["default"].of_request({"tab": "a"})
    assert (name, held.weights, held.video_len) == ("one", {"vtr": 1.0}, NoLength())
