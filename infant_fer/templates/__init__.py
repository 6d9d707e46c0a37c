"""How is HTML made? One Jinja2 environment, whose templates are the files of this folder."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from infant_fer.locales import translator


def render(template: str, language: str = "en", **context: Any) -> Markup:
    """Render a template of this folder; in HTML every value is escaped unless it is Markup itself.

    A template translates its texts by `_("text", name=value)` into `language`.
    The result is Markup (a str), so it can be handed to another template. Joining it with a plain str by `+` escapes
    that str. Raises jinja2.UndefinedError for a name that the template uses and `context` lacks.
    """
    return Markup(_environment(language).get_template(template).render(context))


def macro(template: str, name: str, *arguments: Any, language: str = "en") -> Markup:
    """Call one macro of a template."""
    return getattr(_environment(language).get_template(template).module, name)(*arguments)


def document(title: str, body: str, style: str = "", language: str = "en") -> Markup:
    """Render a self-contained HTML document that loads nothing: `title` is plain text, `body` HTML, `style` CSS."""
    page = {"title": title, "body": Markup(body), "style": Markup(style), "code": language}
    return render("document.html.j2", language, **page)


@cache
def _environment(language: str) -> Environment:
    environment = Environment(
        loader=PackageLoader("infant_fer"),
        autoescape=select_autoescape(["html.j2"]),  # Markdown is plain text
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["_"] = translator(language)
    return environment
