"""Which language does a visitor read? Component labels are translated by the browser, answers by the server."""

from __future__ import annotations

import json
from collections.abc import Iterable

import gradio as gr

from infant_fer.images import TOO_LARGE
from infant_fer.locales import LANGUAGES, catalogue, preferred_language, translator
from infant_fer.ui.request_guard import path_below_root
from infant_fer.ui.uploads import CLIP_BYTES

# What Gradio says by keys of its own, which it does not have in every language (one of them in none).
GRADIO_TEXTS = {
    "audio.record": "Start camera",
    "audio.stop": "Stop",
    "audio.waiting": "One moment",
    "common.clear": "Clear",
    "common.complete": "Done.",
    "common.error": "Error",
    "common.or": "or",
    "image.allow_webcam_access": "Please allow the page to use the camera.",
    "image.drop_to_upload": "Drop a photo here or click to choose one",
    "image.no_webcam_support": "The camera could not be opened.",
    "upload_text.click_to_upload": "click to choose one",
    "upload_text.drop_file": "Drop a clip here",
}
# The names that Gradio gives to its buttons in English only; page.js exchanges them.
GRADIO_NAMES = (
    "Capture from camera",
    "Click to Access Webcam",
    "Close",
    "Empty value",
    "Exit fullscreen mode",
    "File upload",
    "Fullscreen",
    "More tabs",
    "Paste from clipboard",
    "Remove Image",
    "Reset to default value",
    "Upload file",
    "capture photo",
    "grant webcam access",
    "select input source",
    "start recording",
    "stop recording",
)


def _texts(language: str) -> dict[str, str]:
    own = {text: text for text in catalogue("de")} if language == "en" else dict(catalogue(language))
    return own | {key: translator(language)(text) for key, text in GRADIO_TEXTS.items()}


I18N = gr.I18n(**{name: _texts(name) for name in LANGUAGES})
# Gradio's page falls back to English where it has no words of its own in the visitor's language, though I18N has: so what
# it takes for English is made the visitor's language before it starts.
FALLBACK_SCRIPT = (
    b"<script>{ const texts = window.gradio_config?.i18n_translations || {};"
    b" const name = (navigator.languages || []).map((each) => each.slice(0, 2)).find((each) => each in texts);"
    b" if (name) texts.en = texts[name]; }</script></head>"
)


class FallbackLanguage:
    """ASGI middleware: adds FALLBACK_SCRIPT to the page's head."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http" or path_below_root(scope) != "/":
            await self.app(scope, receive, send)
            return
        start = {}

        async def send_with_script(message):
            if message["type"] == "http.response.start":
                start.update(message)  # goes out with the body, whose length it states
                return
            if start:
                message = {**message, "body": message.get("body", b"").replace(b"</head>", FALLBACK_SCRIPT, 1)}
                length = str(len(message["body"])).encode()
                headers = [(name, length if name == b"content-length" else value) for name, value in start["headers"]]
                await send({**start, "headers": headers})
                start.clear()
            await send(message)

        await self.app(scope, receive, send_with_script)


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
    # By Gradio's words, in whose place they stand; the first is the title of every message that comes and goes.
    "Error": "Please note",
    "Connection to the server was lost. Attempting reconnection...": (
        "The connection was lost. Reload the page. It also reloads by itself when the connection is back."
    ),
    "This application is currently busy. Please try again.": "The page is busy. Please try again in a few seconds.",
    "reloaded": "The connection was lost, and the page was reloaded. What was on it is gone: please start again.",
    "no_map": "The map could not be drawn. The answer itself stands.",
    "busy": "The page is busy. Please try again in a few seconds.",
    "not_a_photo": "This file could not be read as a photo. Use JPEG, PNG, WebP, AVIF or HEIC.",
    "too_large": TOO_LARGE,
    "clip_too_large": f"The clip is larger than {CLIP_BYTES // 10**6} MB. Save it shorter or smaller and try again.",
    "clip_waits": "The clip waits until it can be read.",
    "no_clipboard": "The browser did not let the page read the clipboard. Allow it beside the address, or choose the file.",
    "empty_clipboard": "There is no picture in the clipboard. Copy one first.",
    "several_tab": "Several",
    "several_drop": "Drop up to 200 photos here, or a zip archive, or click to choose. They are read one by one; no photo is saved.",
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
    "not_clear": "Not clear",
    "sort_by": "Sort by",
    "by_order": "order",
    "by_name": "name",
    "by_verdict": "verdict",
    "by_confidence": "confidence",
    "by_label": "label",
    "confidence": "Confidence",
    "below_70": "below 70 %",
    "below_90": "below 90 %",
    "from_90": "90 % and more",
    "compare": "compare",
    "compare_two": "Compare the two that are ticked",
    "with_caution": "with caution",
    "open": "Open",
    "tray": "Read so far",
    "bad_zip": "The zip archive could not be read.",
    "bad_entry": "This photo is damaged or encrypted in its zip archive.",
    "too_many": "The list holds at most 200 photos; the others were left out.",
    "no_photos": "There is no photo among these files. Use JPEG, PNG, WebP, AVIF or HEIC.",
    "record_clip": "Record with the camera",
    "stop_recording": "Stop recording",
    "no_recording": "The camera could not be opened.",
    "picture": "Picture",
    "camera": "Camera",
    "photo_alt": "The photo that was chosen",
    "landmarks_alt": "The face with its outlines.",
    "map_alt": "The face with the map of what weighed in the answer.",
}


def browser_words() -> str:
    """Return BROWSER_WORDS, and GRADIO_NAMES by themselves, in every language, as JSON for page.js."""
    words = BROWSER_WORDS | {name: name for name in GRADIO_NAMES}
    translated = {name: {key: translator(name)(text) for key, text in words.items()} for name in LANGUAGES}
    return json.dumps(translated, ensure_ascii=False).replace("<", "\\u003c")
