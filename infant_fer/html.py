"""How is HTML made? One Jinja2 environment, whose templates are in infant_fer/templates."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup


def render(template: str, **context: Any) -> Markup:
    """Render a template of infant_fer/templates; in HTML every value is escaped unless it is Markup itself.

    The result is Markup (a str), so it can be handed to another template. Joining it with a plain str by `+` escapes
    that str. Raises jinja2.UndefinedError for a name that the template uses and `context` lacks.
    """
    return Markup(_environment().get_template(template).render(context))


def macro(template: str, name: str, *arguments: Any) -> Markup:
    """Call one macro of a template."""
    return getattr(_environment().get_template(template).module, name)(*arguments)


def document(title: str, body: str, style: str = "") -> Markup:
    """Render a self-contained HTML document that loads nothing: `title` is plain text, `body` HTML, `style` CSS."""
    return render("document.html.j2", title=title, body=Markup(body), style=Markup(style))


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("infant_fer"),
        autoescape=select_autoescape(["html.j2"]),  # Markdown is plain text
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
