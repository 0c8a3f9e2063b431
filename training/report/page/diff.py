"""The page of `fulcrum fusion diff`: one self-contained HTML file. Nothing is loaded from anywhere.

Whatever comes from configs, requests and items is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.files import replace_file
from training.report.findings.findings import DASH
from training.report.page.templates import template
from training.report.page.whiskers import Whiskers, signed, whiskers


def write_diff_page(found: Mapping[str, Any], path: Path) -> None:
    """Write the page of a diff."""
    replace_file(path, render(found).encode())


def render(found: Mapping[str, Any]) -> str:
    """The page as text."""
    most = max((max(one["before"], one["after"]) for one in found["lengths"]), default=1.0)
    page = template("diff", share=_share, signed=signed, figure=_figure, decimal=_decimal)
    return page.render(found=found, picture=picture(found), most=most or 1.0)


def picture(found: Mapping[str, Any]) -> Whiskers:
    """Of rates and reward."""
    rows = [*found["rates"].items(), ("reward", found["reward"])]
    return whiskers((name, of["relative"], of["relative_interval"]) for name, of in rows)


def _share(value: float | None) -> str:
    return DASH if value is None else f"{value:.1%}"


def _figure(value: float | None) -> str:
    return DASH if value is None else f"{value:.3g}"


def _decimal(value: float | None) -> str:
    return DASH if value is None else f"{value:.3f}"
