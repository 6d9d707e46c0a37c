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


class Message(str):
    """An English sentence with values in the places of its {names}, which a translator can say in another language.

    A value that is a tuple of texts is said as alternatives, "neutral or negative", each text translated. A value that is
    a Message is translated too; any other stays as it is.
    """

    template: str
    values: dict[str, object]

    def __new__(cls, template: str, **values: object) -> Message:
        message = super().__new__(cls, _filled(template, values, {}))
        message.template, message.values = template, values
        return message

    @classmethod
    def joined(cls, *texts: str, between: str = " ") -> Message:
        """Return texts one after the other, each of which is translated by itself."""
        named = {f"part{number}": Message(each) if type(each) is str else each for number, each in enumerate(texts)}
        return cls(between.join(f"{{{name}}}" for name in named), **named)

    def __getnewargs_ex__(self) -> tuple[tuple[str], dict[str, object]]:
        return (self.template,), self.values


def translator(language: str = "en") -> Translate:
    """Return a function of an English text and the values of its {names} that gives the text in `language`.

    A text that the catalogue lacks stays English, as a library's own message does. A Message brings its own values.
    """
    texts = catalogue(language)

    def translate(text: str, **values: object) -> str:
        if isinstance(text, Message):
            return _filled(text.template, text.values, texts)
        translated = texts.get(text, text)
        return translated.format(**values) if values else translated

    return translate


def _filled(template: str, values: Mapping[str, object], texts: Mapping[str, str]) -> str:
    def said(value: object) -> object:
        if isinstance(value, Message):
            return _filled(value.template, value.values, texts)
        if not isinstance(value, tuple):
            return value
        return f" {texts.get('or', 'or')} ".join(texts.get(each, each) for each in value)

    return texts.get(template, template).format(**{name: said(value) for name, value in values.items()})


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
