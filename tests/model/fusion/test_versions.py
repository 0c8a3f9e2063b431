"""Versions: one meaning has one, however it is written, and what had one before has it still."""

import itertools

import pytest

from model.fusion import FusionError, canonical_json, check_tasks, default_fusion, parse_fusion, version

KINDS = """
schema_version: 1
scenes:
  default: {tasks: {}, video_len: {kind: sigmoid, mid_s: 8, width_s: 2}}
  a: {tasks: {vtr: {weight: 1}}, video_len: {kind: piecewise, points: [[0, 0.1], [30, 1]]}}
  b: {tasks: {vtr: {weight: 0}}, video_len: {kind: table, edges_s: [7, 15], values: [0.5, 1, 0.8], weight: 2}}
  c: {formula: log_power, tasks: {}, video_len: {kind: lognormal, mode_s: 20, sigma: 1.5}}
  d: {tasks: {}, video_len: {kind: none, weight: 0, missing: 2}}
"""
SMOOTHED = """
schema_version: 1
scenes:
  default:
    tasks: {vtr: {weight: 1, smoothing: 0.02, clip: [1.0e-4, 0.9]}, shr: {weight: -0.5}}
    video_len: {kind: log, scale_s: 30, weight: 0.5, missing: 0.7}
"""


@pytest.mark.parametrize(
    ("config", "known"),
    [
        (
            default_fusion(["vtr", "vcr", "shr", "cmr"]),
            "973e04152037577bed5c97451f4a77a86153fceab222d9041f3963ddcd13de15",
        ),
        (parse_fusion(SMOOTHED), "bdffa3a9498bad2287013b3622b40fe0873621450fafb0692001d9c814def668"),
        (parse_fusion(KINDS), "0ebeddaca7c4d6a4ad18a6710f13e860e539dbd50154000c59d9422b750a7786"),
    ],
)
def test_configs_of_before_segments_and_other_formulas_have_the_version_that_they_had(config, known):
    assert version(config) == f"sha256:{known}"


HEAD = "schema_version: 1\nscenes:\n"
PLAIN = "  default: {tasks: {vtr: {weight: 1}}}\n"
SAME = [
    (
        "a list of one is its value",
        "{tasks: {}, segments: [{name: a, when: {tab: feed}}]}",
        "{tasks: {}, segments: [{name: a, when: {tab: [feed, feed]}}]}",
        "{tasks: {}, segments: [{name: a, when: {tab: [feed]}, tasks: {}, video_len: {kind: none}}]}",
    ),
    (
        "lists are sets",
        "{tasks: {}, segments: [{name: a, when: {hour: [2, 1], tab: x}}]}",
        "{tasks: {}, segments: [{name: a, when: {tab: x, hour: [1.0, 2]}}]}",
    ),
    (
        "a base written out",
        "{base: default, tasks: {shr: {weight: 2}}}",
        "{tasks: {shr: {weight: 2.0}, vtr: {weight: 1}}}",
        "{formula: log_power, tasks: {vtr: {weight: 1.0}, shr: {weight: 2, smoothing: 0}}}",
    ),
    (
        "options left out, null and empty",
        "{base: default}",
        "{base: default, explore: null, calibration: null, segments: null}",
        "{base: default, calibration: {}, segments: []}",
    ),
    (
        "defaults of a sum",
        "{formula: weighted_sum, tasks: {vtr: {price: 1}}}",
        "{formula: weighted_sum, tasks: {vtr: {price: 1, price_per_s: 0, a: -0.0, b: 1}}, combine: times, "
        "longest_s: 600, missing_s: 0}",
    ),
    (
        "defaults of ranks",
        "{formula: rank_ensemble, tasks: {vtr: {weight: 1}}}",
        "{formula: rank_ensemble, tasks: {vtr: {weight: 1}}, k: 60}",
    ),
    (
        "defaults of exploring",
        "{base: default, explore: {share: 0.1, noise: 0.2}}",
        "{base: default, explore: {unit: request, noise: 0.2, share: 0.1}}",
    ),
    (
        "defaults of a map",
        "{base: default, calibration: {vtr: {map: {kind: platt}}}}",
        "{base: default, calibration: {vtr: {map: {kind: platt, a: 0, b: 1}, segments: []}}}",
        "{base: default, calibration: {vtr: {}}}",
    ),
]


@pytest.mark.parametrize("scenes", [one[1:] for one in SAME], ids=[one[0] for one in SAME])
def test_one_meaning_has_one_version(scenes):
    configs = [parse_fusion(f"{HEAD}{PLAIN}  feed: {scene}\n") for scene in scenes]
    assert len({version(config) for config in configs}) == 1
    for config in configs:
        assert parse_fusion(canonical_json(config).decode()) == config


def test_other_meanings_have_other_versions():
    scenes = [
        *(one[1] for one in SAME),
        "{base: default, explore: {share: 0.1, noise: 0.2, unit: user_week}}",
        "{base: default, calibration: {vtr: {map: {kind: platt, a: 0.1}}}}",
        "{formula: weighted_sum, tasks: {vtr: {price: 1}}, combine: plus}",
        "{formula: weighted_sum, tasks: {vtr: {price: 1, a: 0.1}}}",
        "{formula: rank_ensemble, tasks: {vtr: {weight: 1}}, k: 1}",
        "{tasks: {}, segments: [{name: a, when: {tab: friends}}]}",
        "{tasks: {}, segments: [{name: a, when: {tab: true}}]}",
        "{tasks: {}, segments: [{name: a, when: {tab: 'true'}}]}",
        "{tasks: {}, segments: [{name: a, when: {tab: 1}}]}",
    ]
    versions = [version(parse_fusion(f"{HEAD}{PLAIN}  feed: {scene}\n")) for scene in scenes]
    for one, other in itertools.combinations(range(len(scenes)), 2):
        assert versions[one] != versions[other], (scenes[one], scenes[other])


SUM = "  default: {formula: weighted_sum, tasks: {shr: {price: 1}}"


@pytest.mark.parametrize(
    ("scene", "message"),
    [
        ("tasks: {shr: {price: [x]}}", "scenes.feed.tasks.shr.price: expected a number, found a list of 1"),
        (
            "tasks: {shr: {weight: 1}}",
            "scenes.feed.tasks.shr.weight: unknown key; known keys are price, price",
        ),
        ("combine: both", "scenes.feed.combine: expected 'times' or 'plus', found 'both'"),
        (
            "k: 60",
            "scenes.feed.k: unknown key; known keys are formula, video_len, calibration, explore, tasks",
        ),
        (
            "formula: rank_ensmble",
            "scenes.feed.formula: unknown formula 'rank_ensmble'; the formulas are log_power, weighted_sum, "
            "rank_ensemble, model; did you mean rank_ensemble?",
        ),
        (
            "segments: [{name: eve, when: {tab: a}, tasks: {shr: {price: x}}}]",
            "scenes.feed.segments.eve.tasks.shr.price: expected a number, without quotes, found 'x'",
        ),
        ("segments: [{name: eve}]", "scenes.feed.segments.eve.when: required, but absent"),
        ("segments: [{when: {tab: a}}]", "scenes.feed.segments[0].name: required, but absent"),
        ("segments: [{name: eve, when: {}}]", "scenes.feed.segments.eve.when: expected 1 or more values"),
        (
            "segments: [{name: eve, when: {tab: }}]",
            "scenes.feed.segments.eve.when.tab: expected a value, a list",
        ),
        (
            "segments: [{name: eve, when: {video_len_s: 7}}]",
            "scenes.feed.segments.eve.when: video_len_s is a candidate's; here stand conditions of a request",
        ),
        (
            "segments: [{name: a, when: {tab: 1}}, {name: a, when: {tab: 2}}]",
            "scenes.feed.segments: two segments are named a; expected a name for each",
        ),
        ("segments: {name: eve}", "scenes.feed.segments: expected a list, found a mapping"),
        ("explore: {share: 0, noise: 1}", "scenes.feed.explore.share: expected a number above 0, found 0"),
        ("explore: {share: 1}", "scenes.feed.explore.noise: required, but absent"),
        (
            "calibration: {shr: {map: {a: 1}}}",
            "scenes.feed.calibration.shr.map.kind: required, but absent; the",
        ),
        (
            "calibration: {shr: {map: {kind: isotonic, points: [[0, 0.5], [1, 0.25]]}}}",
            "scenes.feed.calibration.shr.map.points: [1.0, 0.25] follows [0.0, 0.5]; expected the first",
        ),
        (
            "calibration: {shr: {segments: [{when: {tab: 1}, map: {kind: platt, b: 0}}]}}",
            "scenes.feed.calibration.shr.segments[0].map.b: expected a number above 0, found 0",
        ),
    ],
)
def test_a_mistake_in_a_scene_is_named_where_it_stands(scene, message):
    with pytest.raises(FusionError) as refusal:
        parse_fusion(f"{HEAD}{SUM}}}\n  feed: {{base: default, {scene}}}\n")
    said = str(refusal.value)
    assert message in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("scene", "where"),
    [
        ("{tasks: {shar: {weight: 1}}}", "scenes.feed.tasks"),
        ("{tasks: {}, calibration: {shar: {}}}", "scenes.feed.calibration"),
        (
            "{tasks: {}, segments: [{name: a, when: {tab: 1}, tasks: {shar: {weight: 1}}}]}",
            "scenes.feed.segments.a.tasks",
        ),
        (
            f"{{formula: model, file: a, sha256: {'a' * 64}, inputs: [shar], fallback: default}}",
            "scenes.feed.inputs",
        ),
    ],
)
def test_a_task_that_the_bundle_has_not_is_named_where_it_stands(scene, where):
    config = parse_fusion(f"{HEAD}{PLAIN}  feed: {scene}\n")
    with pytest.raises(FusionError) as refusal:
        check_tasks(config, ["vtr", "shr"])
    assert str(refusal.value) == f"fusion config: unknown task 'shar' in {where}; the bundle has vtr, shr"
