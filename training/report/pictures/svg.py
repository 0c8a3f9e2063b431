"""SVG: figures of matplotlib as parts of a page, in the page's own colours and with text as text.

A figure is drawn with stand-ins for colours, which become CSS variables: the page then follows light and dark
by itself. Knows nothing about what is drawn.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK, MUTED, GRID, PAPER = "#010203", "#020304", "#030405", "#040506"
BETTER, WORSE, ACCENT = "#050607", "#060708", "#070809"
_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--grid",
    PAPER: "--paper",
    BETTER: "--better",
    WORSE: "--worse",
    ACCENT: "--accent",
}
_STYLE: Any = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "figure.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
}


def drawn(name: str, size: tuple[float, float], draw: Callable[[Figure], None]) -> str:
    """An `<svg>` element, hidden from screen readers, whose ids all begin with `name`.

    Args:
        name: letters, digits and hyphens; of one figure on the page.
        size: width and height in inches.
        draw: what puts the axes and all that is in them onto the figure.
    """
    with mpl.rc_context(_STYLE | {"svg.hashsalt": name}):
        figure = Figure(figsize=size)
        FigureCanvasSVG(figure)
        draw(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return _inlined(buffer.getvalue(), name)


def tidy(axes: Axes, *, grid: str | None = None) -> None:
    """Light axes: no ticks, and a grid behind along one axis (`x`, `y` or `both`) where asked for."""
    axes.tick_params(length=0)
    if grid is not None:
        axes.grid(visible=True, axis=grid)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def _inlined(text: str, name: str) -> str:
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)
    text = re.sub(r'xlink:href="#([^"]+)"', rf'href="#{name}-\1"', text)
    text = re.sub(r"font: ([0-9.]+px)[^;\"]*", r"font-size: \1", text)
    for stand_in, variable in _VARIABLES.items():
        text = text.replace(stand_in, f"var({variable})")
    width, height = re.search(r'viewBox="0 0 ([0-9.]+) ([0-9.]+)"', text).groups()  # type: ignore[union-attr]
    box = f'viewBox="0 0 {width} {height}" style="--width: {width}px"'
    opening = f'<svg aria-hidden="true" focusable="false" {box}>'
    return re.sub(r"<svg[^>]*>", opening, text, count=1)
