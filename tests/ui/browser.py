"""What the tests in a real browser share: the browser, window sizes, and what a visitor does."""

import shutil
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
IN_BROWSER = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: the page is not tried in a browser."),
]
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
SECONDS = 1000.0  # Playwright counts in milliseconds


def upload(page, path: Path) -> None:
    page.set_input_files("#photo input[type=file]", str(path))


def wait_for_map(page) -> None:
    page.wait_for_function("() => document.querySelector('#legend')?.innerText.includes('50 of 50 samples')")


def count_listed(page) -> None:
    """Count from now on what ends the two events that follow each answer, the second after the complete map."""
    page.evaluate(
        """() => {
            const { addLast } = infantFerSeveral;
            window.listed = 0;
            infantFerSeveral.addLast = (card) => { addLast(card); listed += 1; };
        }"""
    )


def wait_until_listed(page) -> None:
    """Wait until no event of the one answer since count_listed is under way."""
    page.wait_for_function("() => listed >= 2")


def open_tab(page, name: str) -> None:
    """Open a tab; on a narrow page the last ones are in a menu."""
    page.get_by_role("tab", name="Photo").wait_for()
    if page.get_by_role("tab", name=name).count():
        page.get_by_role("tab", name=name).click()
    else:
        page.click(".overflow-menu > button")
        page.locator(".overflow-dropdown button", has_text=name).click()


def picture(page, name: str) -> str:
    return page.get_attribute(f"#{name} img", "src")


def answered(page, words: str) -> None:
    """Wait until the answer has these words."""
    page.wait_for_function("(words) => document.querySelector('#answer')?.innerText.includes(words)", arg=words)
