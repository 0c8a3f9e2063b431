"""What people do on the console's pages, and what is asked of these: for tests in a browser."""

from __future__ import annotations

from typing import Any

ANNA, PAUL = "token-of-anna", "token-of-paul"
PARTS = {
    "Play": "Recent requests",
    "Propose": "What was edited",
    "Experiments": "Layers",
    "History": "Revisions",
    "Audit": "Audit",
    "State": "Service",
}
"""With a panel of each."""
CONNECT = """address => new Promise(done => {
    const socket = new WebSocket(address);
    socket.onopen = () => { socket.close(); done("open"); };
    socket.onclose = () => done("close");
})"""
"""Whether a page of the console gives a connection to who has its address."""
_WIDEST = """Math.max(
    document.documentElement.scrollWidth - innerWidth,
    ...[...document.querySelectorAll(".scroll:has(table.blocks)")].map(e => e.scrollWidth - e.clientWidth)
)"""
"""Pixels by which the page, or a table whose rows become lines, is wider than its room; 0 if it fits."""


def show(page: Any, part: str) -> None:
    page.get_by_role("tab", name=part).click()
    page.get_by_role("tabpanel").get_by_role("region", name=PARTS[part], exact=True).first.wait_for()


def figure(page: Any, title: str) -> str:
    return str(page.locator(".every .figures div", has_text=title).locator("dd").inner_text())


def fits(page: Any, width: int) -> bool:
    """Whether nothing is cut off in a window of so many pixels."""
    page.set_viewport_size({"width": width, "height": 1000})
    return bool(page.evaluate(_WIDEST) <= 0)


def has_value(page: Any, label: str, value: str) -> None:
    from playwright.sync_api import expect

    expect(page.get_by_label(label)).to_have_value(value)


def set_weight(page: Any, name: str, value: float) -> None:
    page.get_by_label(f"{name} weight, as a number").fill(str(value))


def confirm(page: Any, press: str, why: str, shown: str = "recent requests: another item") -> str:
    """Say why, and press; what the dialog said would change."""
    dialog = page.get_by_role("dialog")
    dialog.get_by_text(shown).first.wait_for()
    said = str(dialog.inner_text())
    assert dialog.get_by_role("button", name=press).is_disabled()
    dialog.get_by_label("Why").fill(why)
    dialog.get_by_role("button", name=press).click()
    dialog.wait_for(state="hidden")
    return said


def serious(page: Any, theme: str, *rules: str) -> list[Any]:
    """What axe-core finds that is serious or critical, by all of its rules where none is named."""
    only = {"runOnly": {"type": "rule", "values": rules}} if rules else {}
    found = page.evaluate("(options) => axe.run(document, options)", {"resultTypes": ["violations"], **only})
    return [
        (theme, one["id"], one["nodes"][0]["html"][:200])
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]
