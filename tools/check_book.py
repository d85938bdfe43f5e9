"""Open every page of the rendered book in a headless browser and look for what a reader would trip over.

Usage: python tools/check_book.py [--stored]

Each page is opened from the disk without a network, wide and phone-narrow, in the light and the dark theme.
Screenshots go to ``screens`` beside the pages' folder.  Without chromium nothing is checked, and that is said.
"""

import argparse
import re
import shutil
import sys
from pathlib import Path

import build_book
from playwright.sync_api import Browser, Page, TimeoutError, sync_playwright

from wbcore.files import ROOT

WIDTHS = {"phone": (390, 844), "wide": (1400, 900)}
PATIENCE = 600_000  # milliseconds: a busy machine is not a fault of the book
THEMES = ("dark", "light")  # a page opens in the first; its own button leads to the second
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip

# What the page itself can tell; each list names what is wrong.
INSPECT = """() => {
  const page = document.documentElement;
  const article = document.querySelector('.bd-article') || document.body;
  const all = selector => [...article.querySelectorAll(selector)];
  const shown = element => element.getClientRects().length > 0;
  const name = element => (element.currentSrc || element.outerHTML).slice(0, 160);
  const scrolls = element => element !== article
      && (getComputedStyle(element).overflowX !== 'visible' || scrolls(element.parentElement));
  const beyond = all('*').filter(element => shown(element) && !element.closest('mjx-assistive-mml')
      && element.getBoundingClientRect().right > page.clientWidth + 1 && !scrolls(element));
  return {
    'image not loaded': all('img').filter(image => shown(image) && image.naturalWidth === 0).map(name),
    'image without alternative text': all('img').filter(image => !image.alt.trim()).map(name),
    'equation not rendered': all('.math').filter(equation => !equation.querySelector('mjx-container')).map(name),
    'equation with an error': all('mjx-merror, [data-mjx-error]').map(name),
    'wider than the window': beyond.slice(0, 3).map(name),
    'page scrolls sideways': page.scrollWidth > page.clientWidth + 1 ? [`${page.scrollWidth} pixels`] : [],
  };
}"""


def find_browser() -> str | None:
    return next((path for path in map(shutil.which, BROWSERS) if path), None)


def pages_of(html: Path) -> list[Path]:
    """Every page of the table of contents, and the search; not the redirection to the first."""
    pages = (page for page in sorted(html.rglob("*.html")) if "_static" not in page.parts)
    return [page for page in pages if page not in (html / "index.html", html / "genindex.html")]


def check_page(page: Page, path: Path, screens: Path) -> list[str]:
    """Load one page, look at it in each size and theme; everything that is wrong with it."""
    requests: list[str] = []
    faults: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("requestfailed", lambda request: faults.append(f"failed to load {request.url}: {request.failure}"))
    page.on("console", lambda message: faults.extend([message.text] if message.type == "error" else []))
    page.on("pageerror", lambda error: faults.append(f"script error: {error}"))
    page.goto(path.as_uri(), wait_until="load")
    if page.locator(".math").count():
        page.evaluate("() => window.MathJax?.startup?.promise")
    for theme in THEMES:
        if page.evaluate("document.documentElement.dataset.theme") != theme:
            page.locator(".theme-switch-button:visible").first.click()
            page.wait_for_function(f"document.documentElement.dataset.theme === '{theme}'", timeout=PATIENCE)
        for size, (width, height) in WIDTHS.items():
            page.set_viewport_size({"width": width, "height": height})
            for fault, places in page.evaluate(INSPECT).items():
                faults += [f"{fault} ({size}, {theme}): {place}" for place in places]
            page.screenshot(
                path=screens / f"{path.parent.name}-{path.stem}-{size}-{theme}.png",
                full_page=True,
                animations="disabled",
            )
    return faults + [f"asks for {url}" for url in requests if not url.startswith(("file:", "data:", "blob:"))]


def check_links(html: Path) -> list[str]:
    """Pages that point to a file that is not there, load one from elsewhere, or name a folder of this machine."""
    faults = []
    for path in pages_of(html):
        text = path.read_text()
        for target in re.findall(r"""(?:src|href)=["']([^"'#?]+)""", text):
            if not re.match(r"[a-z]+:", target) and not (path.parent / target).exists():
                faults.append(f"{path.name}: there is no {target}")
        for target in re.findall(r"""<(?:script|img|link|iframe)[^>]*(?:src|href)=["'](https?:[^"']+)""", text):
            faults.append(f"{path.name}: loads {target}")
        faults += [
            f"{path.name}: names the folder {folder}" for folder in (f"{ROOT}/", f"{Path.home()}/") if folder in text
        ]
    return faults


def first_page(html: Path) -> Path:
    """The page that ``index.html`` leads to."""
    redirection = re.search(r'url=([^"]+)', (html / "index.html").read_text())
    return html / (redirection[1] if redirection else "index.html")


def check_search(browser: Browser, html: Path) -> list[str]:
    """The search finds the first page by the longest word of its title."""
    page = browser.new_page(offline=True)
    page.set_default_timeout(PATIENCE)
    page.goto(first_page(html).as_uri())
    word = max(re.findall(r"\w+", page.locator("h1").first.inner_text()), key=len)
    page.goto(f"{(html / 'search.html').as_uri()}?q={word}")
    try:
        page.locator("#search-results li a").first.wait_for(timeout=PATIENCE)
    except TimeoutError:
        return [f"the search finds nothing for {word!r}"]
    finally:
        page.close()
    return []


def check_pages(browser: Browser, html: Path, screens: Path) -> list[str]:
    faults = []
    context = browser.new_context(viewport={"width": WIDTHS["wide"][0], "height": WIDTHS["wide"][1]}, offline=True)
    context.set_default_timeout(PATIENCE)
    context.add_init_script(f"localStorage.setItem('mode', '{THEMES[0]}')")
    for path in pages_of(html):
        page = context.new_page()
        try:
            found = check_page(page, path, screens)
        except TimeoutError as error:
            found = [f"no answer: {error.message}"]
        faults += [f"{path.relative_to(html)}: {fault}" for fault in found]
        page.close()
    return faults


def main() -> int:
    parser = argparse.ArgumentParser(description="Check the rendered book in a headless browser.")
    parser.add_argument("--stored", action="store_true", help="the book with the committed outputs")
    _, html = build_book.folders(stored=parser.parse_args().stored)
    executable = find_browser()
    if executable is None:
        print("The book in a browser: skipped: no chromium")
        return 0
    screens = html.parent / "screens"
    shutil.rmtree(screens, ignore_errors=True)
    faults = check_links(html)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=FLAGS, timeout=PATIENCE)
        faults += check_pages(browser, html, screens) + check_search(browser, html)
        browser.close()
    for fault in dict.fromkeys(faults):
        print(fault)
    print(f"The book in a browser: {len(pages_of(html))} pages, {len(faults)} faults, screenshots in {screens}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
