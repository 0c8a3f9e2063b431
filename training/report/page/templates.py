"""The templates of pages: whatever comes from configs, requests and items is escaped."""

from __future__ import annotations

from collections.abc import Callable

from jinja2 import Environment, PackageLoader, StrictUndefined, Template


def template(name: str, **filters: Callable[..., str]) -> Template:
    """The template of a page.

    Args:
        name: without `.html.j2`.
        **filters: that it uses besides jinja2's own.
    """
    environment = Environment(
        loader=PackageLoader("training.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters)
    return environment.get_template(f"{name}.html.j2")
