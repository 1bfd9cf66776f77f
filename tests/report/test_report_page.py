"""The page in a browser: it fits phones and desktops, and its controls work."""

from __future__ import annotations

from pathlib import Path

import pytest
from headless import DESKTOP, PHONE
from report_cases import write_run

from mmdet_maskr.report import write_report

SIZES = pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, shapes_root: Path) -> str:
    run = write_run(tmp_path_factory.mktemp("page") / "run", shapes_root)
    return write_report(run, detections=[run / "found.json"]).as_uri()


@SIZES
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_can_be_read(open_page, address: str, size: tuple[int, int], scheme: str):
    """No sideways scroll; every text has a contrast of 4.5 with what is behind it."""
    page = open_page(address, size, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    worst = page.evaluate(
        """() => {
        const light = (c) => { const [r, g, b] = c.match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255)
          .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
          return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
        const behind = (e) => { for (; e; e = e.parentElement) {
          const c = getComputedStyle(e).backgroundColor;
          if (!/, 0\\)|transparent/.test(c)) return c; } return "rgb(255,255,255)"; };
        let least = 99;
        for (const e of document.querySelectorAll("main *, header *, nav *")) {
          if (![...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())) continue;
          if (e.closest("svg")) continue;
          const [a, b] = [getComputedStyle(e).color, behind(e)].map(light);
          least = Math.min(least, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05));
        }
        return least; }"""
    )
    assert worst >= 4.5


def test_clicking_through(open_page, address: str):
    page = open_page(address, DESKTOP)
    for link in page.locator("nav a").all():
        link.click()
        target = link.get_attribute("href")
        assert page.evaluate("location.hash") == target
        assert page.locator(f"{target} h2").count() == 1
    # 1. pictures
    first = page.locator("#worst .zoom").first
    first.click()
    assert page.locator("#viewer").get_attribute("open") is not None
    alt = first.locator("img").get_attribute("alt")
    assert page.locator("#viewer img").get_attribute("alt") == alt
    assert page.locator("#viewer p").inner_text() == alt
    page.keyboard.press("Escape")
    assert page.locator("#viewer").get_attribute("open") is None
    # 2. tables
    table = page.locator("#scores table").first
    heads = table.locator("th button")
    heads.nth(1).click()
    rows = table.locator("tbody tr")
    values = [rows.nth(i).locator("td").first.inner_text() for i in range(rows.count())]
    assert rows.first.locator("th").inner_text() == "all", "it stays on top"
    numbers = [float(v) if v != "–" else -1 for v in values[1:]]
    assert len(numbers) > 2 and numbers == sorted(numbers, reverse=True)
    assert table.locator("th").nth(1).get_attribute("aria-sort") == "descending"
    heads.nth(1).click()
    ascending = [rows.nth(i).locator("td").first.inner_text() for i in range(1, rows.count())]
    assert ascending == values[:0:-1] or sorted(ascending) == sorted(values[1:])
    assert table.locator("th").nth(1).get_attribute("aria-sort") == "ascending"
    # 3. commands
    page.locator(".copy").first.click()
    page.wait_for_function("document.querySelector('.copy').textContent !== 'Copy'")


def test_for_screen_readers(open_page, address: str):
    """Pictures and charts say what they are, tables have heads, every control has a name."""
    page = open_page(address, DESKTOP)
    count = "nodes => nodes.length"
    assert page.eval_on_selector_all("main img:not([alt]), main img[alt='']", count) == 0
    assert page.eval_on_selector_all("svg[role=img]:not([aria-label])", count) == 0
    assert page.eval_on_selector_all("table", count) == page.eval_on_selector_all("thead", count)
    assert page.eval_on_selector_all("thead th:not([scope])", count) == 0
    assert page.eval_on_selector_all("tbody tr > :first-child:not(th[scope=row])", count) == 0
    nameless = """() => [...document.querySelectorAll("main button, main a")].filter((e) =>
        !e.textContent.trim() && !e.ariaLabel).length"""
    assert page.evaluate(nameless) == 0


def test_it_is_whole_without_script(browser, address: str):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    assert page.locator("#worst img").count() > 0 and page.locator("svg polyline").count() > 3
    context.close()
