"""How does the page look? Theme, styles of all tabs, and what the browser runs before anything is drawn."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import cv2
import gradio as gr

from infant_fer.images import data_url, load_image
from infant_fer.report_html import STYLE
from infant_fer.ui.languages import browser_words
from infant_fer.ui.languages import label as t

# Gradio's indigo, its middle darkened until text and buttons reach a contrast of 4.5 (WCAG 2.2, 1.4.3).
INDIGO = gr.themes.Color(
    "#eef2ff",
    "#e0e7ff",
    "#c7d2fe",
    "#a5b4fc",
    "#818cf8",
    "#4f46e5",
    "#4338ca",
    "#3730a3",
    "#312e81",
    "#2b2a6b",
    "#1e1b4b",
)
THEME = gr.themes.Soft(
    primary_hue=INDIGO,
    secondary_hue=INDIGO,
    font=["system-ui", "sans-serif"],  # no font is fetched
    font_mono=["ui-monospace", "monospace"],
).set(body_text_color_subdued="*neutral_600", block_info_text_color="*neutral_600")

# Browsers give the camera to pages from HTTPS or this computer only; elsewhere the page says so itself.
CAMERA_ADVICE = (
    "No camera here: the camera needs HTTPS or localhost. Open the page over HTTPS, or on the computer that serves it. "
    "Uploading a photo works."
)
NO_CAMERA = f'<div class="ife"><p>{t(CAMERA_ADVICE)}</p></div>'
NEEDS_HTTPS = "needs-https"  # the class of blocks with NO_CAMERA; head.html hides them elsewhere

# On phones both pictures lie in one frame: the slider uncovers the map from the left.
PICTURE_SWITCH = (
    '<div class="switch"><button type="button" data-split="0" aria-pressed="false" data-words="face"></button>'
    '<input type="range" min="0" max="100" value="100" data-words="face_to_map">'
    '<button type="button" data-split="100" aria-pressed="true" data-words="map"></button></div>'
)
TRAY = '<div class="ife tray" hidden><h3 data-words="tray"></h3><div class="tray-cards"></div></div>'
THUMBNAIL_PX = 88


def page_file(name: str) -> str:
    """Return the text of a file beside this module."""
    return files("infant_fer.ui").joinpath(name).read_text("utf-8")


CSS = STYLE + page_file("page.css")
SCRIPTS = (
    page_file("answer_stream.js")
    + page_file("camera_frames.js")
    + page_file("page.js").replace("/*WORDS*/ {}", browser_words())
    + page_file("several.js")
)
HEAD = f"{page_file('head.html')}<script>{SCRIPTS}</script>"


def example_style(examples: list[Path]) -> str:
    """Return a style element that gives each example's button its thumbnail."""
    rules = [f'#example-{path.stem} {{ background-image: url("{_thumbnail(path)}") }}' for path in examples]
    return f"<style>{' '.join(rules)}</style>"


def _thumbnail(path: Path) -> str:
    image = load_image(path)
    scale = THUMBNAIL_PX / min(image.shape[:2])
    return data_url(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), quality=75)
