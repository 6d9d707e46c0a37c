"""How is a report shown in a browser? HTML fragments for the page, and one self-contained document to keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from infant_fer.drawing import colour_bar_css, draw_faces, draw_saliency
from infant_fer.explain import METHODS
from infant_fer.images import data_url
from infant_fer.labels import AFFECT_COLOURS
from infant_fer.regions import PART_WORDS
from infant_fer.report import LIMITS, OUTSIDE_SHARE, OUTSIDE_WARNING, Explanation, FaceReport, Report, clear_label
from infant_fer.viewing import close_up

TITLE = "Expression report"
OTHER_COLOUR = "#3B6FB6"

STYLE = """
.ife { font-family: system-ui, sans-serif; line-height: 1.45; color: inherit; }
.ife h2 { margin: 0 0 .2rem; font-size: 1.35rem; } .ife h3 { margin: .9rem 0 .2rem; font-size: 1rem; }
.ife p { margin: .25rem 0; } .ife ul { margin: .25rem 0; padding-left: 1.2rem; }
.ife .bar { display: grid; grid-template-columns: 7.5rem 1fr 3.2rem; gap: .5rem; align-items: center; margin: .15rem 0; }
.ife .track { background: rgba(128,128,128,.22); border-radius: 4px; height: .8rem; overflow: hidden; }
.ife .fill { height: 100%; border-radius: 4px; } .ife .num { text-align: right; font-variant-numeric: tabular-nums; }
.ife .note { border-left: 4px solid #E69F00; padding: .1rem .6rem; margin: .35rem 0; background: rgba(230,159,0,.12); }
.ife .quiet { opacity: .75; font-size: .88rem; } .ife .ramp { height: .7rem; border-radius: 4px; }
.ife .ends { display: flex; justify-content: space-between; font-size: .8rem; }
"""

PAGE_STYLE = """
body { max-width: 70rem; margin: 1.5rem auto; padding: 0 1rem; background: #fff; color: #222; }
.pictures { display: flex; flex-wrap: wrap; gap: 1rem; } .pictures figure { flex: 1 1 20rem; margin: 0; }
img { max-width: 100%; } table { border-collapse: collapse; } td { padding: .1rem .8rem .1rem 0; vertical-align: top; }
"""


def answer_html(report: Report, number: int) -> str:
    """The answer for one face, or the advice when the photo has none."""
    if not report.faces:
        return _wrap("<h2>No face found</h2>" + notes_html(report.notes))
    face = report.face(number)
    prediction = face.prediction
    parts = [
        headline_html(prediction.probabilities),
        f"<p>{escape(face.sentence)}</p>",
        probability_bars(prediction.probabilities),
        notes_html((*face.notes, *report.notes)),
    ]
    if prediction.valence is not None and prediction.arousal is not None:
        parts.append("<h3>Valence and arousal</h3>" + _plane(prediction.valence, prediction.arousal))
    if prediction.emotions:
        parts.append(f"<details><summary>Seven emotions</summary>{_bars(prediction.emotions)}</details>")
    if prediction.age_groups:
        parts.append(
            f"<details><summary>Age group the face looks like</summary>{_bars(prediction.age_groups)}</details>"
        )
    parts.append(f'<p class="quiet">Checkpoint: {escape(report.checkpoint)}. {escape(LIMITS)}</p>')
    return _wrap("".join(parts))


def headline_html(probabilities: Mapping[str, float]) -> str:
    """The clear affect in its colour, or that the expression is not clear."""
    label = clear_label(probabilities)
    if label is None:
        return "<h2>Not clear</h2>"
    return f'<h2 style="color:{AFFECT_COLOURS[label]}">{label.capitalize()} expression</h2>'


def probability_bars(probabilities: Mapping[str, float]) -> str:
    """The affect probabilities as labelled bars."""
    return _bars(probabilities, AFFECT_COLOURS)


def shares_html(explanation: Explanation | None) -> str:
    """The legend of the map and the share of each face part as bars."""
    if explanation is None:
        return ""
    saliency = explanation.saliency
    shares = {PART_WORDS[part]: share for part, share in sorted(explanation.shares.items(), key=lambda item: -item[1])}
    warning = (OUTSIDE_WARNING,) if explanation.shares["outside"] > OUTSIDE_SHARE else ()
    requested = saliency.requested_samples
    details = [
        METHODS[saliency.method].title,
        f"{saliency.samples} of {requested} samples" if requested > 1 else "one pass",
    ]
    details += [
        *(f"{name} {value}" for name, value in saliency.options.items()),
        f"{saliency.precision} on {saliency.device}",
    ]
    return _wrap(
        f'<div class="ramp" style="background:{colour_bar_css()}"></div>'
        '<div class="ends"><span>weighed little</span><span>weighed most</span></div>'
        f"<h3>Where the model looked for “{escape(saliency.target)}”</h3>{_bars(shares)}{notes_html(warning)}"
        '<p class="quiet">The bars are shares of the whole map: a large part gathers much by its size. '
        f"{escape(', '.join(details))}. The map shows what moved the model's answer, not what the infant feels.</p>"
    )


def report_page(report: Report, number: int = 1) -> str:
    """One HTML document with the pictures, numbers, settings, checkpoint and limits; it loads nothing."""
    return document(TITLE, report_section(report, number))


def document(title: str, body: str) -> str:
    """A self-contained HTML document of `body` (HTML) under `title` (plain text), as wide as the screen it is read on."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}{PAGE_STYLE}</style></head><body><h1>{escape(title)}</h1>{body}</body></html>"
    )


def report_section(report: Report, number: int = 1) -> str:
    """The pictures and answers of one photo as a part of a document; every face is answered, `number` is drawn."""
    view = close_up(report)
    figures = [_figure(draw_faces(view, number), "Faces and landmarks")]
    if report.faces and report.face(number).explanation:
        figures.append(_figure(draw_saliency(view, number), "What weighed in the answer"))
    answers = [answer_html(report, face.number) + shares_html(face.explanation) for face in report.faces]
    if len(answers) > 1:
        answers = [f"<h2>Face {number}</h2>{answer}" for number, answer in enumerate(answers, 1)]
    return (
        f'<div class="pictures">{"".join(figures)}</div>'
        + "".join(answers or [answer_html(report, number)])
        + _settings(report)
    )


def _figure(image_rgb, caption: str) -> str:
    source = data_url(image_rgb, quality=90)
    return f'<figure><img src="{source}" alt="{escape(caption)}"><figcaption>{escape(caption)}</figcaption></figure>'


def _settings(report: Report) -> str:
    rows = [("Checkpoint", report.checkpoint), ("Photo", "{} × {} pixels".format(*report.photo.full_size_wh))]
    rows += [(f"Box of face {face.number}", _box_words(face, report.photo.scale)) for face in report.faces]
    cells = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in rows)
    return f"<h3>Settings</h3><table>{cells}</table>"


def _box_words(face: FaceReport, scale: float) -> str:
    left, top, right, bottom = (round(value * scale) for value in face.face.box_xyxy)
    return f"from ({left}, {top}) to ({right}, {bottom})"


def _wrap(inner: str) -> str:
    return f'<div class="ife">{inner}</div>'


def _bars(shares: Mapping[str, float], colours: Mapping[str, str] | None = None) -> str:
    return "".join(
        f'<div class="bar"><span>{escape(name)}</span><div class="track"><div class="fill" '
        f'style="width:{share * 100:.1f}%;background:{(colours or {}).get(name, OTHER_COLOUR)}"></div></div>'
        f'<span class="num">{share * 100:.0f} %</span></div>'
        for name, share in shares.items()
    )


def notes_html(notes: Sequence[str]) -> str:
    """What to know of the answer, a line each."""
    return "".join(f'<p class="note">{escape(note)}</p>' for note in notes)


def _plane(valence: float, arousal: float) -> str:
    """A point on the plane of valence (-2..2, left to right) and arousal (0..2, bottom to top) as inline SVG."""
    x, y = 10 + (min(max(valence, -2), 2) + 2) / 4 * 180, 10 + (2 - min(max(arousal, 0), 2)) / 2 * 70
    words = f"valence {valence:+.1f} of ±2, arousal {arousal:.1f} of 2"
    return (
        f'<svg viewBox="0 0 226 106" width="249" role="img" aria-label="{words}">'
        '<rect x="10" y="10" width="180" height="70" rx="4" fill="none" stroke="currentColor" opacity=".5"/>'
        '<line x1="100" y1="10" x2="100" y2="80" stroke="currentColor" opacity=".3"/>'
        f'<circle cx="{x:.0f}" cy="{y:.0f}" r="6" fill="{OTHER_COLOUR}" stroke="white"/>'
        '<g font-size="9" fill="currentColor"><text x="10" y="92">unpleasant</text>'
        '<text x="190" y="92" text-anchor="end">pleasant</text>'
        '<text x="195" y="17">lively</text><text x="195" y="80">calm</text>'
        f'<text x="100" y="103" text-anchor="middle">{words}</text></g></svg>'
    )
