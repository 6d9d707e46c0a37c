"""Which language does a visitor read? Component labels are translated by the browser, answers by the server."""

from __future__ import annotations

import json
from collections.abc import Iterable

import gradio as gr

from infant_fer.locales import LANGUAGES, catalogue, preferred_language, translator

I18N = gr.I18n(en={text: text for text in catalogue("de")}, **{name: dict(catalogue(name)) for name in LANGUAGES[1:]})


def label(text: str) -> gr.I18nData:
    """Return the text of a component, which the browser translates."""
    return I18N(text)


def choices(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return the choices of a component: the browser translates what is shown, and each value stays its name."""
    return [(label(name), name) for name in names]


def language_of(request: gr.Request | None) -> str:
    """Return the language that the visitor's browser asks for."""
    headers = getattr(request, "headers", None)
    return preferred_language(headers.get("accept-language", "") if headers else "")


# What page.js says by itself, or puts into elements with the attribute data-words.
BROWSER_WORDS = {
    "heading": "What does the expression look like?",
    "introduction": "It names what an infant's face looks like and shows why. It reads faces, not feelings, and is not a medical device.",
    "projector": "Projector view",
    "face": "Face",
    "map": "Map",
    "face_to_map": "From the face to the map",
    "waiting": "Choose a photo, take one with the camera, or try an example.",
    "no_answer": "No answer",
    "unanswered": "The page got no answer. The connection may be lost, or the page is busy: please try again.",
    "no_map": "The map could not be drawn. The answer itself stands.",
    "busy": "The page is busy. Please try again in a few seconds.",
    "not_a_photo": "This file could not be read as a photo. Use JPEG, PNG, WebP, AVIF or HEIC.",
    "too_large": "The photo is larger than 12 MB. Save it smaller and try again.",
    "no_clipboard": "The browser did not let the page read the clipboard. Allow it beside the address, or choose the file.",
    "empty_clipboard": "There is no picture in the clipboard. Copy one first.",
    "several_tab": "Several",
    "several_drop": "Drop up to 200 photos here, or a zip archive, or click to choose. They are read one by one; nothing is stored.",
    "stop": "Stop",
    "show": "Show",
    "all": "all",
    "verdict_answer": "with an answer",
    "verdict_caution": "with caution",
    "verdict_withheld": "cannot say",
    "verdict_none": "no face",
    "positive": "positive",
    "neutral": "neutral",
    "negative": "negative",
    "sort_by": "Sort by",
    "by_order": "order",
    "by_name": "name",
    "by_verdict": "verdict",
    "by_confidence": "confidence",
    "compare": "compare",
    "compare_two": "Compare the two that are ticked",
    "with_caution": "with caution",
    "open": "Open",
    "tray": "Read so far",
    "bad_zip": "The zip archive could not be read.",
    "too_many": "The list holds at most 200 photos; the others were left out.",
    "no_photos": "There is no photo among these files. Use JPEG, PNG, WebP, AVIF or HEIC.",
    "record_clip": "Record with the camera",
    "stop_recording": "Stop recording",
    "no_recording": "The camera could not be opened.",
    "picture": "Picture",
    "photo_alt": "The photo that was chosen",
    "landmarks_alt": "The face with its outlines.",
    "map_alt": "The face with the map of what weighed in the answer.",
}


def browser_words() -> str:
    """Return BROWSER_WORDS in every language, as JSON for page.js."""
    translated = {name: {key: translator(name)(text) for key, text in BROWSER_WORDS.items()} for name in LANGUAGES}
    return json.dumps(translated, ensure_ascii=False).replace("<", "\\u003c")
