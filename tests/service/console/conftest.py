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
def console(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A console's address."""
    process = subprocess.Popen(
        [sys.executable, "fulcrum.py", "console", "--url", site.url, "--port", "0"],
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
        greeting = process.stdout.readline()
        assert greeting.startswith(f"Fulcrum console for {site.url} on http://127.0.0.1:"), greeting
        yield greeting.split()[-1]
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A headless browser that remembers scripts; without one, the tests are skipped."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here: install it, or name one by FULCRUM_CHROMIUM")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser.new_context(reduced_motion="reduce")
        browser.close()


@pytest.fixture
def open_page(chromium: Any, console: str, site: Site) -> Iterator[Open]:
    """`open_page(token=None, service=None, width=1600)`: a page of a person of their own.

    All that it asks for is of the console, and nothing fails in it.
    """
    pages: list[Any] = []
    elsewhere: list[str] = []
    errors: list[str] = []

    def asked(request: Any) -> None:
        if not request.url.startswith((console, console.replace("http", "ws"), "data:", "blob:")):
            elsewhere.append(request.url)

    def opened(token: str | None = None, service: Service | None = None, width: int = 1600) -> Any:
        if service is not None:
            site.service = service
        page = chromium.new_page()
        pages.append(page)
        page.set_viewport_size({"width": width, "height": 1000})
        page.set_default_timeout(10_000)
        page.on("request", asked)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(console)
        page.get_by_role("tab", name="Play").wait_for()
        if service is not None:  # the console looks once a second
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
        page.close()
    assert not elsewhere
    assert not errors
