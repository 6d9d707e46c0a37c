"""The one Jinja2 environment and the one HTML document."""

import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

from infant_fer.templates import document, render


def test_titles_are_escaped_and_bodies_are_not():
    page = document("<script>", "<p>1 & 2</p>", "a > b { }")
    assert "<title>&lt;script&gt;</title>" in page
    assert "<h1>&lt;script&gt;</h1>" in page
    assert "<p>1 & 2</p>" in page
    assert "a > b { }" in page
    assert page.startswith("<!doctype html>")
    assert page.endswith("</body></html>")


def test_values_are_escaped_unless_they_are_markup():
    page = render("document.html.j2", title="t", style="", body="<b>")
    assert "&lt;b&gt;" in page
    assert "<b>" in render("document.html.j2", title="t", style="", body=Markup("<b>"))


def test_a_missing_value_is_an_error():
    with pytest.raises(UndefinedError):
        render("document.html.j2", title="t")
