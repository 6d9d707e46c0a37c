"""How is a report shown in a browser? HTML fragments for the page, and one self-contained document to keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from infant_fer.drawing import close_up, colour_bar_css, draw_faces, draw_saliency
from infant_fer.explain import METHODS
from infant_fer.html import document, macro, render
from infant_fer.images import data_url
from infant_fer.labels import AFFECT_COLOURS
from infant_fer.locales import translator
from infant_fer.regions import PART_WORDS
from infant_fer.report import LIMITS, OUTSIDE_SHARE, OUTSIDE_WARNING, Explanation, FaceReport, Report, clear_label

TITLE = "Expression report"
STYLE = str(render("report.css"))  # of the fragments; as Markup it would escape the style it is joined with
PARTS = "report_parts.html.j2"


# The seven categories describe adults' faces: they are named as likenesses.
EMOTION_WORDS = {
    "happy": "joy-like",
    "neutral": "neutral",
    "surprise": "surprise-like",
    "sad": "sadness-like",
    "angry": "anger-like",
    "fear": "fear-like",
    "disgust": "disgust-like",
    "contempt": "contempt-like",
    "cry": "crying",
}


def answer_html(report: Report, number: int, language: str = "en") -> Markup:
    """Return the answer for one face, or the advice when the photo has none; "cannot say" replaces it by the reason."""
    if not report.faces:
        return render("answer.html.j2", language, face=None, notes=report.notes, fault="")
    face = report.face(number)
    _ = translator(language)
    prediction, trust = face.prediction, face.assessment
    beside = face.notes + report.notes
    if trust.verdict == "cannot say":
        beside = tuple(note for note in beside if note != trust.reasons[0].text) if trust.reasons else beside
    return render(
        "answer.html.j2",
        language,
        face=face,
        fault="",
        sentence=face.sentence_in(language),
        label=clear_label(prediction.probabilities),
        notes_beside=beside,
        affects=", ".join(_(affect) for affect in trust.prediction_set),
        emotions={EMOTION_WORDS.get(name, name): share for name, share in (prediction.emotions or {}).items()},
        meters={},
        colours=AFFECT_COLOURS,
        checkpoint=report.checkpoint,
        limits=LIMITS,
    )


def fault_html(sentence: str, language: str = "en") -> Markup:
    """Return one sentence in the place of an answer: why there is none."""
    return render("answer.html.j2", language, face=None, notes=(), fault=sentence)


def headline_html(probabilities: Mapping[str, float], verdict: str = "answer", language: str = "en") -> Markup:
    """Return the clear affect in its colour, or that the expression is not clear."""
    return macro(PARTS, "headline", clear_label(probabilities), AFFECT_COLOURS, verdict, language=language)


def probability_bars(probabilities: Mapping[str, float], language: str = "en") -> Markup:
    """Return the affect probabilities as labelled bars."""
    return macro(PARTS, "bars", probabilities, AFFECT_COLOURS, language=language)


def notes_html(notes: Sequence[str], language: str = "en") -> Markup:
    """Return the notes on an answer, one line each."""
    return macro(PARTS, "notes", notes, language=language)


def shares_html(explanation: Explanation | None, language: str = "en") -> Markup:
    """Return the map's legend and each face part's emphasis as bars; nothing without an explanation."""
    if explanation is None:
        return Markup()
    saliency = explanation.saliency
    requested = saliency.requested_samples
    _ = translator(language)
    samples = _("{count} of {requested} samples", count=saliency.samples, requested=requested)
    details = [
        METHODS[saliency.method].title,
        samples if requested > 1 else _("one pass"),
        *(f"{name} {value}" for name, value in saliency.options.items()),
        _("{precision} on {device}", precision=saliency.precision, device=saliency.device),
    ]
    ranked = sorted(explanation.density_ratio.items(), key=lambda item: -item[1])
    return render(
        "shares.html.j2",
        language,
        ramp=colour_bar_css(),
        target=saliency.target,
        emphasis={PART_WORDS[part]: ratio for part, ratio in ranked},
        done=saliency.samples / requested,
        warnings=(OUTSIDE_WARNING,) if explanation.shares["outside"] > OUTSIDE_SHARE else (),
        details=details,
    )


def report_page(report: Report, number: int = 1) -> Markup:
    """Return one HTML document with the pictures, numbers, settings, checkpoint and limits; it loads nothing."""
    return report_document(report_section(report, number))


def report_document(body: str) -> Markup:
    """Return a self-contained document of report sections (HTML)."""
    return document(TITLE, body, STYLE + str(render("report_page.css")))


def report_section(report: Report, number: int = 1) -> Markup:
    """Return the pictures and answers of one photo; every face is answered, face `number` is drawn."""
    view = close_up(report)
    pictures = [("Faces and landmarks", data_url(draw_faces(view, number), quality=90))]
    if report.faces and report.face(number).explanation:
        pictures.append(("What weighed in the answer", data_url(draw_saliency(view, number), quality=90)))
    answers = [answer_html(report, face.number) + shares_html(face.explanation) for face in report.faces]
    settings = {"Checkpoint": report.checkpoint, "Photo": "{} × {} pixels".format(*report.photo.full_size_wh)}
    settings |= {f"Box of face {face.number}": _box_words(face, report.photo.scale) for face in report.faces}
    answers = answers or [answer_html(report, number)]
    return render("section.html.j2", pictures=pictures, answers=answers, settings=settings)


def _box_words(face: FaceReport, scale: float) -> str:
    left, top, right, bottom = (round(value * scale) for value in face.face.box_xyxy)
    return f"from ({left}, {top}) to ({right}, {bottom})"
