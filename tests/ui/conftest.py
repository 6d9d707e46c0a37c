"""Fixtures of the tests in a real browser with a fake camera."""

from contextlib import suppress

import pytest

from tests.conftest import OTHER_NAME
from tests.ui.browser import CHROMIUM, DESKTOP, SECONDS


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",
                "--use-fake-device-for-media-stream",
                "--use-fake-ui-for-media-stream",
                "--disable-background-networking",
                f"--host-resolver-rules=MAP {OTHER_NAME} 127.0.0.1",
            ],
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def context(browser):
    """Return one visitor's context: its pages share the cache, so that only the first one compiles the page's scripts."""
    return browser.new_context(permissions=["camera"], accept_downloads=True)


@pytest.fixture
def visit(context, page_server):
    """Open the page at a viewport; every request it makes is recorded in `page.requested`."""
    opened = []

    def go(viewport=DESKTOP, address=page_server[0]):
        page = context.new_page()
        opened.append(page)
        page.set_viewport_size(viewport)
        page.set_default_timeout(60 * SECONDS)
        page.requested = []
        page.faults = []
        page.events = []
        page.on("request", lambda request: page.requested.append(request.url))
        page.on("pageerror", lambda error: page.faults.append(str(error)))
        page.on("console", lambda message: page.events.append(f"console: {message.text}"))
        page.on("requestfailed", lambda request: page.events.append(f"failed: {request.url} {request.failure}"))
        page.on("framenavigated", lambda frame: page.events.append(f"opened: {frame.url}"))
        page.goto(address)
        page.wait_for_selector("#photo input[type=file]", state="attached")
        return page

    yield go
    context.set_offline(False)
    for page in opened:
        print_state(page)
        page.close()


def print_state(page) -> None:
    """Print what a page showed last and what happened to it, which pytest shows of a test that failed."""
    print(*page.faults, *page.events[-20:], page.requested[-10:], sep="\n")
    with suppress(Exception):  # a page that has crashed
        print(page.locator("body").inner_text(timeout=5 * SECONDS))
