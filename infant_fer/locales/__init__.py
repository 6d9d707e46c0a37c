"""In which language do the page and its reports speak? One catalogue per language, keyed by the English text.

A catalogue is a TOML file beside this module. `tests/ui/test_languages.py` holds that none lacks a text.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files

LANGUAGES = ("en", "de", "it", "da")
Translate = Callable[..., str]


def translator(language: str = "en") -> Translate:
    """Return a function of an English text and the values of its {names} that gives the text in `language`.

    A text that the catalogue lacks stays English, as a library's own message does.
    """
    texts = catalogue(language)

    def translate(text: str, **values: object) -> str:
        translated = texts.get(text, text)
        return translated.format(**values) if values else translated

    return translate


@cache
def catalogue(language: str) -> Mapping[str, str]:
    """Return the texts of a language by their English; empty for English and for a language that is not there."""
    if language not in LANGUAGES or language == "en":
        return {}
    return tomllib.loads(files("infant_fer.locales").joinpath(f"{language}.toml").read_text("utf-8"))


def preferred_language(accept_language: str) -> str:
    """Return the first of LANGUAGES in an Accept-Language header (RFC 9110, section 12.5.4), else English."""
    ranked = []
    for position, entry in enumerate(accept_language.split(",")):
        name, _, options = entry.partition(";")
        weight = re.fullmatch(r"\s*q=([01](?:\.\d{0,3})?)\s*", options) if options else None
        ranked.append((-float(weight[1]) if weight else -1.0, position, name.strip().lower().split("-")[0]))
    return next((name for weight, _, name in sorted(ranked) if weight < 0 and name in LANGUAGES), "en")
