"""What a fusion config accepts, what it refuses and in which words, and what its version stands for."""

import json
import textwrap
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.fusion import (
    MAX_BYTES,
    FusionError,
    LogPower,
    TaskTerm,
    canonical_json,
    check_tasks,
    default_fusion,
    load_fusion,
    parse_fusion,
    version,
)
from model.fusion.lengths import LengthKind, LogLength, NoLength
from tests.support.properties import examples

FEED = """
schema_version: 1
scenes:
  default:
    tasks: {vtr: {weight: 1.0}}
  feed:
    formula: log_power
    tasks:
      vtr: {weight: 1.0}
      vcr: {weight: 0.5, smoothing: 0.0, clip: [1.0e-4, 1.0]}
    video_len: {kind: log, scale_s: 30.0, weight: 1.0, missing: 1.0}
"""

KINDS = [kind.model_fields["kind"].default for kind in get_args(get_args(LengthKind)[0])]

weights = st.floats(-100, 100)
shares = st.floats(1e-300, 1.0)
lengths = st.one_of(  # of other kinds, `test_lengths.py` says the same
    st.builds(dict, kind=st.just("none"), weight=weights),
    st.builds(dict, kind=st.just("log"), scale_s=st.floats(1e-3, 1e6), missing=st.floats(1e-6, 1e6)),
)
terms = st.fixed_dictionaries(
    {"weight": weights},
    optional={
        "smoothing": st.floats(0, 10),
        "clip": shares.filter(lambda low: low < 1).map(lambda low: [low, 1]),
    },
)
names = st.text(min_size=1, max_size=20).filter(str.isprintable)
scene_documents = st.fixed_dictionaries(
    {"tasks": st.dictionaries(names, terms, max_size=4)},
    optional={"video_len": lengths, "formula": st.just("log_power")},
)
documents = st.dictionaries(names, scene_documents, max_size=3).flatmap(
    lambda scenes: scene_documents.map(
        lambda default: {"schema_version": 1, "scenes": {**scenes, "default": default}}
    )
)


def with_task(term: str) -> str:
    return f"schema_version: 1\nscenes: {{default: {{tasks: {{vtr: {term}}}}}}}"


def with_length(video_len: str) -> str:
    return f"schema_version: 1\nscenes: {{default: {{tasks: {{}}, video_len: {video_len}}}}}"


def test_a_config_is_read_with_its_defaults_filled_in():
    config = parse_fusion(FEED)
    assert config.scenes["default"] == LogPower(tasks={"vtr": TaskTerm(weight=1.0)}, video_len=NoLength())
    assert config.scenes["feed"].tasks["vcr"] == TaskTerm(weight=0.5, smoothing=0.0, clip=(1e-4, 1.0))
    assert config.scenes["feed"].tasks["vtr"].clip == (1e-6, 1.0)
    assert config.scenes["feed"].video_len == LogLength(scale_s=30.0, weight=1.0, missing=1.0)


def test_a_scene_that_is_not_there_falls_back_to_default():
    config = parse_fusion(FEED)
    assert config.scene("feed") == (config.scenes["feed"], True)
    assert config.scene("default") == (config.scenes["default"], True)
    assert config.scene("search") == (config.scenes["default"], False)


def test_a_config_cannot_be_changed():
    config = parse_fusion(FEED)
    with pytest.raises(ValueError, match="frozen"):
        config.scenes["feed"].tasks["vtr"].weight = 2.0  # type: ignore[misc]


def test_the_default_fusion_is_the_plain_product():
    config = default_fusion(["vtr", "vcr"])
    assert config.scene("anything")[0] == LogPower(
        tasks={"vtr": TaskTerm(weight=1.0), "vcr": TaskTerm(weight=1.0)}, video_len=NoLength()
    )
    assert parse_fusion(canonical_json(config).decode()) == config


def test_the_default_fusion_smooths_by_half_the_mean_in_two_digits():
    config = default_fusion(["vtr", "shr", "cmr", "other"], {"vtr": 0.43994, "shr": 0.0012, "cmr": 0.0})
    assert config.scenes["default"].smoothings == {"vtr": 0.22, "shr": 0.0006}
    assert default_fusion(["seconds"], {"seconds": 25.0}).scenes["default"].smoothings == {"seconds": 0.5}
    assert parse_fusion(canonical_json(config).decode()) == config


@examples(40)
@given(documents)
def test_the_canonical_form_and_any_json_of_it_mean_the_same(document):
    config = parse_fusion(json.dumps(document))
    assert parse_fusion(canonical_json(config).decode()) == config
    for text in (json.dumps(document, indent=1), json.dumps(document, ensure_ascii=False, sort_keys=True)):
        assert version(parse_fusion(text)) == version(config)


@pytest.mark.parametrize(
    "text",
    [
        "scenes: {default: {tasks: {a: {weight: 1}, b: {weight: 0}}}}\nschema_version: 1",
        "schema_version: 1.0\nscenes: {default: {tasks: {b: {weight: -0.0}, a: {weight: 1.0e0}}}}",
        "schema_version: 1\nscenes: {default: {formula: log_power, video_len: {kind: none}, "
        "tasks: {a: {clip: [0.000001, 1], weight: 1}, b: {weight: 0, smoothing: 0}}}}",
        '{"schema_version":1,"scenes":{"default":{"tasks":{"a":{"weight":1e0,"clip":[1e-06,1]},"b":{"weight":0}}}}}',
    ],
)
def test_texts_that_mean_the_same_have_one_version(text):
    same = "schema_version: 1\nscenes:\n  default:\n    tasks: {a: {weight: 1.0}, b: {weight: 0.0}}\n"
    assert version(parse_fusion(text)) == version(parse_fusion(same))


def test_scene_order_does_not_matter_to_the_version():
    a, b = '"a": {"tasks": {}}', '"default": {"tasks": {"vtr": {"weight": 2}}}'
    one, other = (f'{{"schema_version": 1, "scenes": {{{pair}}}}}' for pair in (f"{a}, {b}", f"{b}, {a}"))
    assert version(parse_fusion(one)) == version(parse_fusion(other))


@pytest.mark.parametrize("change", [("0.5", "0.25"), ("30.0", "31"), ("feed", "food"), ("1.0e-4", "1.0e-5")])
def test_another_meaning_has_another_version(change):
    assert version(parse_fusion(FEED)) != version(parse_fusion(FEED.replace(*change)))


def test_the_version_is_pinned_so_that_logs_stay_comparable():
    assert canonical_json(default_fusion(["vtr"])) == (
        b'{"scenes":{"default":{"formula":"log_power","tasks":{"vtr":{"clip":[1e-06,1.0],"smoothing":0.0,'
        b'"weight":1.0}},"video_len":{"kind":"none","missing":1.0,"weight":1.0}}},"schema_version":1}'
    )
    assert version(default_fusion(["vtr"])) == (
        "sha256:60af3bd0da75044c210d21cdf533c23f132a1e1f0406c5f027d2f776d7197644"
    )


def test_the_canonical_form_spells_names_as_they_are():
    tasks = {"é": TaskTerm(weight=1.0)}
    config = default_fusion(["vtr"]).model_copy(update={"scenes": {"default": LogPower(tasks=tasks)}})
    assert '"tasks":{"é":{'.encode() in canonical_json(config)


def test_a_name_has_256_characters_at_most():
    config = FEED.replace("feed", "f" * 256)
    assert parse_fusion(config).scene("f" * 256)[1]
    with pytest.raises(FusionError, match="a name is 1 to 256 printable characters"):
        parse_fusion(config.replace("f" * 256, "f" * 257))


def test_an_unknown_task_is_named_with_its_scene_and_what_the_bundle_has():
    config = parse_fusion(FEED.replace("vcr:", "shar:"))
    with pytest.raises(FusionError) as refusal:
        check_tasks(config, ["vtr", "vcr", "shr", "cmr"], source="weights.yaml")
    assert str(refusal.value) == (
        "weights.yaml: fusion config: unknown task 'shar' in scenes.feed.tasks; "
        "the bundle has vtr, vcr, shr, cmr"
    )
    check_tasks(config, ["vtr", "shar"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty; expected a mapping with schema_version and scenes"),
        ("# nothing", "empty; expected a mapping"),
        ("[1]", "found a list of 1 at the top level; expected a mapping"),
        ("log_power", "found 'log_power' at the top level"),
        ("scenes: {}", "schema_version: required, but absent"),
        ("schema_version: 1", "scenes: required, but absent"),
        ("schema_version: 2\nscenes: {}", "version 2 is not known; this program reads version 1"),
        ("schema_version: true\nscenes: {}", "version true is not known"),
        ("schema_version: '1'\nscenes: {}", "version '1' is not known"),
        ("schema_version: 1\nscenes:", "scenes: expected a mapping, found null"),
        ("schema_version: 1\nscenes: {feed: {tasks: {}}}", "no scene named default"),
        ("schema_version: 1\nscenes: {default: {}}", "scenes.default.tasks: required, but absent"),
        ("schema_version: 1\nscenes: {default: }", "scenes.default: expected a mapping, found null"),
        ("schema_version: 1\nscenes: {'': {tasks: {}}}", "scenes: bad name '': a name is 1 to 256"),
        ('schema_version: 1\nscenes: {"a\\nb": {tasks: {}}}', r"scenes: bad name 'a\nb'"),
        (
            "rules: 1\nschema_version: 1",
            "rules: unknown key; known keys are schema_version, scenes",
        ),
        (with_task("1.0"), "scenes.default.tasks.vtr: expected a mapping, found 1.0"),
        (with_task("{}"), "scenes.default.tasks.vtr.weight: required, but absent"),
        (
            with_task("{wieght: 1}"),
            "tasks.vtr.wieght: unknown key; known keys are weight, smoothing, clip; did you mean weight?",
        ),
        (
            with_task("{weight: '1'}"),
            "scenes.default.tasks.vtr.weight: expected a number, without quotes, found '1'",
        ),
        (with_task("{weight: true}"), "weight: expected a number, found true"),
        (with_task("{weight: }"), "weight: expected a number, found null"),
        (with_task("{weight: .inf}"), "weight: expected a finite number, found inf"),
        (with_task("{weight: -.inf}"), "weight: expected a finite number, found -inf"),
        (with_task("{weight: .nan}"), "weight: expected a finite number, found nan"),
        (with_task("{weight: 1e999}"), "weight: expected a finite number, found inf"),
        (with_task("{weight: 100.5}"), "weight: expected a number of at most 100, found 100.5"),
        (with_task("{weight: -101}"), "weight: expected a number of at least -100, found -101"),
        (with_task("{weight: 1, smoothing: -1}"), "smoothing: expected a number of at least 0, found -1"),
        (
            with_task("{weight: 1, clip: [0, 1]}"),
            "scenes.default.tasks.vtr.clip[0]: expected a number above 0, found 0",
        ),
        (with_task("{weight: 1, clip: [0.5, 2]}"), "clip[1]: expected a number of at most 1, found 2"),
        (
            with_task("{weight: 1, clip: [0.5, 0.5]}"),
            "low 0.5 is not below high 0.5; expected 0 < low < high <= 1",
        ),
        (with_task("{weight: 1, clip: [0.5]}"), "clip[1]: required, but absent"),
        (
            with_task("{weight: 1, clip: [0.1, 0.2, 0.3]}"),
            "clip: expected at most 2 values, found a list of 3",
        ),
        (with_task("{weight: 1, clip: 0.1}"), "clip: expected a list, found 0.1"),
        (with_length("log"), "scenes.default.video_len: expected a mapping, found 'log'"),
        (
            with_length("{scale_s: 1}"),
            f"scenes.default.video_len.kind: required, but absent; the kinds are {', '.join(KINDS)}",
        ),
        (
            with_length("{kind: quadratic}"),
            f"scenes.default.video_len.kind: unknown kind 'quadratic'; the kinds are {', '.join(KINDS)}",
        ),
        (
            with_length("{kind: log, scale: 30}"),
            "scenes.default.video_len.scale: unknown key; known keys are weight, missing, kind, scale_s",
        ),
        (with_length("{kind: log}"), "scenes.default.video_len.scale_s: required, but absent"),
        (
            with_length("{kind: log, scale_s: 0}"),
            "scenes.default.video_len.scale_s: expected a number above 0, found 0",
        ),
        (
            with_length("{kind: log, scale_s: 1, weight: 200}"),
            "video_len.weight: expected a number of at most 100, found 200",
        ),
        (with_length("{kind: none, missing: 0}"), "video_len.missing: expected a number above 0, found 0"),
        (
            with_length("{kind: sigmoid, mid_s: 1, width_s: -1}"),
            "width_s: expected a number above 0, found -1",
        ),
        (with_length("{kind: lognormal, mode_s: 1, sigma: 0}"), "sigma: expected a number above 0, found 0"),
        (
            with_length("{kind: piecewise, points: []}"),
            "points: expected 1 or more values, found a list of 0",
        ),
        (
            with_length("{kind: piecewise, points: [[1, 1], [1, 2]]}"),
            "must increase strictly; 1.0 follows 1.0",
        ),
        (
            with_length("{kind: piecewise, points: [[1, -1]]}"),
            "points[0][1]: expected a number of at least 0, found -1",
        ),
        (with_length("{kind: table, edges_s: [2, 1], values: [1, 1, 1]}"), "edges must increase strictly"),
        (
            with_length("{kind: table, edges_s: [1, 2], values: [1, 1]}"),
            "video_len: 2 edges_s and 2 values; expected one more value than edges",
        ),
    ],
)
def test_a_mistake_is_named_in_one_line(text, message):
    with pytest.raises(FusionError) as refusal:
        parse_fusion(text, source="weights.yaml")
    said = str(refusal.value)
    assert said.startswith("weights.yaml: fusion config: ")
    assert message in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        (
            "policy",
            "scenes.default.formula: unknown formula 'policy'; the formulas are log_power, weighted_sum",
        ),
        ("geometric", "scenes.default.formula: unknown formula 'geometric'; the formulas are log_power"),
        ("3", "scenes.default.formula: unknown formula 3; the formulas are log_power"),
    ],
)
def test_a_formula_that_there_is_not_is_refused_by_name(formula, message):
    with pytest.raises(FusionError, match=message):
        parse_fusion(f"schema_version: 1\nscenes: {{default: {{tasks: {{}}, formula: {formula}}}}}")


@examples(100)
@given(st.text(max_size=60) | st.text("[]{}:,-?&*!|>'\"%@# \n\t1a.", max_size=60))
def test_any_text_is_a_config_or_one_line_of_refusal(text):
    try:
        parse_fusion(text)
        said = ""
    except FusionError as refusal:
        said = str(refusal)
    assert len(said.splitlines()) <= 1


def test_a_file_is_read_and_named_when_it_is_wrong(tmp_path: Path):
    path = tmp_path / "weights.yaml"
    path.write_text(textwrap.dedent(FEED), encoding="utf-8-sig")
    assert load_fusion(path) == load_fusion(str(path)) == parse_fusion(FEED)
    path.write_text("[]")
    with pytest.raises(FusionError, match=r"weights\.yaml: fusion config: found a list"):
        load_fusion(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("schema_version: 1 # é".encode("latin-1"), "byte 20 is not UTF-8"),
        (FEED.encode("utf-16"), "is not UTF-8"),
        (b"# " + "é".encode() * (1 << 16), "larger than 131072 bytes"),
        (b"", "empty"),
    ],
)
def test_a_file_that_is_no_config_text_is_refused(tmp_path: Path, content, message):
    path = tmp_path / "weights.yaml"
    path.write_bytes(content)
    with pytest.raises(FusionError, match=message):
        load_fusion(path)


def test_a_text_that_would_take_long_to_judge_is_refused_by_its_size_alone(monkeypatch):
    monkeypatch.setattr("model.document._Loader", None)  # nothing is parsed
    points = ",".join(f"[{second},1]" for second in range(100_000))
    with pytest.raises(FusionError, match="larger than 131072 bytes"):
        parse_fusion(f"{FEED}\nmore: [{points}]")


def test_a_text_of_the_largest_size_is_read():
    assert parse_fusion(FEED + "#" * (MAX_BYTES - len(FEED))) == parse_fusion(FEED)


def test_a_path_that_cannot_be_read_is_named(tmp_path: Path):
    with pytest.raises(FusionError, match=r"absent\.yaml: fusion config: cannot read the file: No such file"):
        load_fusion(tmp_path / "absent.yaml")
    with pytest.raises(FusionError, match="cannot read the file"):
        load_fusion(tmp_path)
