"""A headless Chromium, and pages that note what goes wrong in them: fixtures for conftest files."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PHONE, DESKTOP = (390, 844), (1440, 900)


@pytest.fixture(scope="module")
def browser() -> Iterator:
    api = pytest.importorskip("playwright.sync_api")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"needs a browser: one of {', '.join(BROWSERS)}")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser) -> Iterator[Callable]:
    """Opens an address; at the end no page may have logged an error or asked for another host."""
    wrong: list[str] = []
    contexts = []

    def open_page(url: str, size: tuple[int, int] = DESKTOP, scheme: str = "light"):
        context = browser.new_context(
            viewport=dict(width=size[0], height=size[1]), color_scheme=scheme
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda m: m.type == "error" and wrong.append(m.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: is_inside(request.url) or wrong.append(request.url))
        page.goto(url)
        return page

    def is_inside(url: str) -> bool:
        return url.startswith(("file:", "data:", "blob:", "about:", "http://127.0.0.1:"))

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []
