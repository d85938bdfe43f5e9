"""The check of the book sees what it is there to see: a page with every fault gets every complaint."""

import check_book
import pytest
from playwright.sync_api import sync_playwright

BROKEN = """<!doctype html><html data-theme="dark"><head>
<link rel="stylesheet" href="https://example.invalid/style.css"></head><body>
<button class="theme-switch-button" onclick="document.documentElement.dataset.theme = 'light'">theme</button>
<article class="bd-article"><h1>Emergence</h1>
<img src="missing.png" alt="">
<div class="math">x</div>
<div style="width: 600px">wide</div>
<script>console.error("complaint"); undefinedFunction()</script>
</article></body></html>"""
SOUND = """<!doctype html><html data-theme="dark"><body>
<button class="theme-switch-button" onclick="document.documentElement.dataset.theme = 'light'">theme</button>
<article class="bd-article"><h1>Emergence</h1>
<div style="overflow-x: auto"><table style="width: 900px"><tr><td>scrolls</td></tr></table></div>
</article></body></html>"""
COMPLAINTS = (
    "asks for https://example.invalid/style.css",
    "failed to load",
    "script error: undefinedFunction",
    "complaint",
    "image not loaded (phone, dark)",
    "image without alternative text (wide, light)",
    "equation not rendered (wide, dark)",
    "wider than the window (phone, light)",
    "page scrolls sideways (phone, dark)",
)


@pytest.fixture
def check(tmp_path):
    executable = check_book.find_browser()
    if executable is None:
        pytest.skip("no chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=check_book.FLAGS, timeout=check_book.PATIENCE)

        def check(content: str) -> list[str]:
            (tmp_path / "page.html").write_text(content)
            return check_book.check_pages(browser, tmp_path, tmp_path / "screens")

        yield check
        browser.close()


def test_broken_page(check):
    faults = "\n".join(check(BROKEN))
    assert [complaint for complaint in COMPLAINTS if complaint not in faults] == []
    assert "wider than the window (wide" not in faults


def test_sound_page(check, tmp_path):
    assert check(SOUND) == []
    assert len(list((tmp_path / "screens").glob("*.png"))) == 4


def test_links(tmp_path):
    (tmp_path / "page.html").write_text(f'{BROKEN}<a href="https://example.org">elsewhere</a> {check_book.ROOT}/data')
    assert check_book.check_links(tmp_path) == [
        "page.html: there is no missing.png",
        "page.html: loads https://example.invalid/style.css",
        f"page.html: names the folder {check_book.ROOT}/",
    ]
