"""How is an evaluation shown? One self-contained HTML page of tables and pictures; it loads nothing."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from html import escape

import cv2
import numpy as np

from infant_fer.evaluation.predictions import Predictions, RepeatedAccuracy
from infant_fer.images import data_url
from infant_fer.metrics import Proportion

GALLERY_SIZE = 24
STYLE = """
:root { color-scheme: light dark; } body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 1.5rem auto; padding: 0 1rem; }
h1 { line-height: 1.2; } h2 { margin-top: 2rem; } .wide { overflow-x: auto; } table { border-collapse: collapse; margin: .5rem 0; }
th, td { border-bottom: 1px solid rgba(128,128,128,.4); padding: .2rem .7rem .2rem 0; text-align: left; vertical-align: top; }
td.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
figure { display: inline-block; margin: .5rem 1rem .5rem 0; vertical-align: top; }
figcaption { max-width: 30rem; font-size: .9rem; } img { max-width: 100%; height: auto; border-radius: 4px; background: #fff; }
.warning { border-left: 4px solid #D55E00; padding: .2rem .8rem; background: rgba(213,94,0,.12); } code { overflow-wrap: anywhere; }
"""


def report_page(title: str, sections: Iterable[tuple[str, str]]) -> str:
    """The document of (heading, HTML) sections; empty ones are left out."""
    body = "".join(f"<h2>{escape(heading)}</h2>{html}" for heading, html in sections if html)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head><body><h1>{escape(title)}</h1>{body}</body></html>"
    )


def table(head: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    """A table whose cells are words, numbers or shares; the first column names the row."""
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    lines = (
        "<tr>" + f"<th scope=row>{escape(str(row[0]))}</th>" + "".join(_cell(value) for value in row[1:]) + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><tr>{top}</tr>{"".join(lines)}</table></div>'


def facts(values: Mapping[str, object]) -> str:
    """A table of names and values."""
    rows = "".join(f"<tr><th scope=row>{escape(name)}</th>{_cell(value)}</tr>" for name, value in values.items())
    return f'<div class="wide"><table>{rows}</table></div>'


def picture(png: bytes, caption: str) -> str:
    """A figure with the PNG inside the document."""
    source = "data:image/png;base64," + base64.b64encode(png).decode()
    return f'<figure><img src="{source}" alt="{escape(caption)}"><figcaption>{escape(caption)}</figcaption></figure>'


def gallery(answers: Predictions, crops: np.ndarray) -> str:
    """The surest wrong answers with their (N, S, S, 3) faces. Only for the owner of the pictures: it shows them."""
    wrong = np.flatnonzero(answers.predicted != answers.truth)
    wrong = wrong[np.argsort(-answers.probabilities[wrong].max(1))][:GALLERY_SIZE]
    figures = []
    for index in wrong:
        truth, answer = answers.labels[answers.truth[index]], answers.labels[answers.predicted[index]]
        words = f"labelled {truth}, read as {answer} ({answers.probabilities[index].max() * 100:.0f} %)"
        source = data_url(cv2.resize(crops[index], (128, 128), interpolation=cv2.INTER_AREA), quality=85)
        figures.append(f'<figure><img src="{source}" alt="{words}"><figcaption>{words}</figcaption></figure>')
    warning = '<p class="warning">These are pictures of the data set. Do not publish this page.</p>'
    return warning + "".join(figures) if figures else "<p>No answer was wrong.</p>"


def _cell(value: object) -> str:
    if isinstance(value, Proportion | RepeatedAccuracy):
        return f'<td class="number">{value.short}</td>'
    if isinstance(value, float):
        return f'<td class="number">{value:.3f}</td>'
    return f"<td>{escape('–' if value is None else str(value))}</td>"
