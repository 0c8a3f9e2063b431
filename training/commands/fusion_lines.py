"""`fulcrum fusion diff` without a log: the lines that differ, and what a running service previews."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from rich.console import Console

from model.errors import printable
from model.terminal import LOCAL, answer, print_json, print_table, progress
from training.commands.fusion_diff_text import counted, cut, figure, number, percent
from training.commands.fusion_sides import CURRENT, revision_config

if TYPE_CHECKING:
    from model.client.control import Control
    from model.fusion import FusionConfig

_RECENT = 300
"""Requests that a preview looks at."""
_MOST = 80


def diff_lines(
    names: tuple[str, str], url: str | None, token_file: Path | None, scene: str | None, top: int, json: bool
) -> None:
    """Print what differs between two configs, and what the second would move over recent requests.

    Args:
        names: files, numbers of revisions, or `current`: the active one.
        url: of the service; None for the one on this machine, which is asked only where a name needs it.
        token_file: of who asks.
        scene: whose requests are previewed.
        top: places that count.
        json: whether to print one object.
    """
    from model.client.signed_in import SignedIn
    from model.fusion import load_fusion, version
    from model.fusion.changes import changes

    preview, why = None, ""
    if url is None and not any(name.isdecimal() or name == CURRENT for name in names):
        sides = [load_fusion(name) for name in names]
        why = "give --url, and `current` as A, to see what would move over recent requests of a service"
    else:
        with SignedIn(url or LOCAL, token_file) as service:
            sides = [_config(service, name) for name in names]
            if version(sides[0]) != version(sides[1]):
                preview, why = _preview(service, sides[0], sides[1], scene, top)
    lines = changes(*sides)
    if json:
        before, after = (
            {"name": name, "version": version(config)} for name, config in zip(names, sides, strict=True)
        )
        print_json({"before": before, "after": after, "changes": lines, "preview": preview})
        return
    if not lines:
        answer.print("nothing differs")
        return
    for line in lines:
        answer.print(printable(line), highlight=False, markup=False, soft_wrap=True)
    if preview is None:
        progress.print(why, highlight=False, markup=False, soft_wrap=True)
    else:
        _print_preview(preview, top)


def _config(service: Control, name: str) -> FusionConfig:
    from model.client import control
    from model.fusion import load_fusion

    if name == CURRENT:
        return revision_config(service, service.send(control.revisions(limit=1))["active"])
    return revision_config(service, int(name)) if name.isdecimal() else load_fusion(name)


def _preview(
    service: Control, before: FusionConfig, after: FusionConfig, scene: str | None, top: int
) -> tuple[dict[str, Any] | None, str]:
    """What the service expects over its recent requests; or why it says nothing."""
    from model.client import control
    from model.client.control import RefusedError
    from model.fusion import DEFAULT_SCENE, canonical_json, version

    active = service.send(control.fusion())
    if active["version"] != version(before):
        return None, "no preview: it compares with what ranks now; give `current` as A to see it"
    body = {
        "recent": _RECENT,
        "config": orjson.loads(canonical_json(after)),
        "top": top,
        "scene": scene or DEFAULT_SCENE,
    }
    try:
        found: dict[str, Any] = service.send(control.preview(body))
    except RefusedError as error:
        return None, f"no preview: {error}"
    if not found["requests"]:
        return None, "no preview: the service has seen no requests of the scene yet"
    return found, ""


def _print_preview(found: Mapping[str, Any], top: int) -> None:
    console = Console(width=min(_MOST, answer.width))
    of = f"{counted(found['requests'], 'recent request')}, {counted(found['candidates'], 'candidate')}"
    console.print(f"\nover {of}:", highlight=False)
    rows = [
        ("another item comes first", percent(found["changed_first"])),
        (f"of the first {top}, items that change", percent(found["changed_top"])),
        ("Kendall's tau-b, first 50", number(found["kendall_tau"])),
    ]
    print_table(console, ("what changes", "mean"), rows, 1)
    if rates := found["rates"]:
        cells = [
            (cut(task, 40), figure(each["before"]), figure(each["after"])) for task, each in rates.items()
        ]
        print_table(console, (f"mean prediction of the first {top}", "before", "after"), cells, 1)
    if exposure := found["exposure"]:
        print_table(console, ("length", "share of the top: before", "after"), list(_lengths(exposure)), 1)


def _lengths(exposure: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for each in exposure["video_len"]:
        low, high = each["from_s"], each["to_s"]
        if not each["before"] and not each["after"]:
            continue
        if low is None and high is None:
            name = "unknown"
        else:
            name = f"{low or 0:g} s and more" if high is None else f"{low or 0:g} to {high:g} s"
        yield name, percent(each["before"]), percent(each["after"])
