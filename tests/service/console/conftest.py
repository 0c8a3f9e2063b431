"""A console as a process, in front of a service from memory, looked at by a real browser."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.control_service import Service
from tests.support.control_site import Site, running

CHROMIUM = os.environ.get("FULCRUM_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Where the service is; tests put another one there as they like."""
    with running(Service()) as site:
        yield site


@pytest.fixture(scope="module")
def starting(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    """A console that begins to start, as the browser does meanwhile; it looks for changes more often."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here: install it, or name one by FULCRUM_CHROMIUM")
    pytest.importorskip("playwright.sync_api")
    command = "from service.console import watch; watch.EVERY_S = 0.25; import fulcrum; fulcrum.main()"
    process = subprocess.Popen(
        [sys.executable, "-c", command, "console", "--url", site.url, "--port", "0"],
        cwd=Path(__file__).parents[3],
        env={
            **os.environ,
            "TZ": "Asia/Shanghai",
            "NICEGUI_STORAGE_PATH": str(tmp_path_factory.mktemp("nicegui")),
        },
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


@pytest.fixture(scope="module")
def chromium(starting: object) -> Iterator[Any]:
    """A headless browser that remembers scripts."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser.new_context(reduced_motion="reduce")
        browser.close()


@pytest.fixture(scope="module")
def console(site: Site, starting: subprocess.Popen[str], chromium: object) -> str:
    """A console's address."""
    assert starting.stdout is not None
    greeting = starting.stdout.readline()
    assert greeting.startswith(f"Fulcrum console for {site.url} on http://127.0.0.1:"), greeting
    return greeting.split()[-1]


@pytest.fixture(scope="module")
def tabs(chromium: Any) -> list[Any]:
    """The browser's tabs: a test takes those that it needs, and opens no more than are missing."""
    return []


@pytest.fixture
def open_page(chromium: Any, console: str, site: Site, tabs: list[Any]) -> Iterator[Open]:
    """`open_page(token=None, service=None, width=1600)`: a page of a person of their own.

    All that it asks for is of the console, and nothing fails in it.
    """
    pages: list[Any] = []
    elsewhere: list[str] = []
    errors: list[str] = []

    def asked(request: Any) -> None:
        if not request.url.startswith((console, console.replace("http", "ws"), "data:", "blob:")):
            elsewhere.append(request.url)

    def failed(error: Any) -> None:
        errors.append(str(error))

    def opened(token: str | None = None, service: Service | None = None, width: int = 1600) -> Any:
        if service is not None:
            site.service = service
        if len(pages) == len(tabs):
            tabs.append(chromium.new_page())
        page = tabs[len(pages)]
        pages.append(page)
        page.set_viewport_size({"width": width, "height": 1000})
        page.set_default_timeout(10_000)
        page.on("request", asked)
        page.on("pageerror", failed)
        if page.url.startswith(console):
            page.bring_to_front()
            page.evaluate("sessionStorage.clear()")  # another tab, as far as the console knows
            page.reload()
        else:
            page.goto(console)
        page.get_by_role("tab", name="Play").wait_for()
        if service is not None:  # the console looks again and again
            version = service.revisions[service.trail[-1] - 1]["version"]
            page.locator(f"[title='{version}']").wait_for()
        if token is not None:
            page.get_by_role("button", name="Sign in").click()
            page.get_by_label("Token").fill(token)
            page.keyboard.press("Enter")
            page.get_by_role("button", name="Sign out").wait_for()
            page.get_by_role("dialog").wait_for(state="hidden")
        return page

    yield opened
    for page in pages:
        page.remove_listener("request", asked)
        page.remove_listener("pageerror", failed)
    for page in tabs[1:]:
        page.close()
    del tabs[1:]
    assert not elsewhere
    assert not errors
