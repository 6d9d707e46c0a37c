"""How is a report shown in a browser? HTML fragments for the page, and one self-contained document to keep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from markupsafe import Markup

from infant_fer import __version__
from infant_fer.drawing import close_up, colour_bar_css, draw_faces, draw_saliency
from infant_fer.explain import METHODS
from infant_fer.images import data_url
from infant_fer.labels import AFFECT_COLOURS, AFFECTS, meters
from infant_fer.locales import Message, Translate, translator
from infant_fer.regions import PART_WORDS
from infant_fer.report import LIMITS, OUTSIDE_SHARE, OUTSIDE_WARNING, FaceReport, Report
from infant_fer.templates import document, render
from infant_fer.trust.assessment import VERDICTS
from infant_fer.trust.gate import UNDECIDED

TITLE = "Expression report"
COMPACT_PX, COMPACT_QUALITY = 320, 70  # of pictures on a page of many photos: about 12 KB each
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
    beside = tuple(note for note in face.notes + report.notes if note != UNDECIDED.text)  # the sentence says it
    if trust.verdict == "cannot say":
        beside = tuple(note for note in beside if note != trust.reasons[0].text) if trust.reasons else beside
    return render(
        "answer.html.j2",
        language,
        face=face,
        fault="",
        sentence=face.sentence_in(language),
        label=trust.label,
        notes_beside=beside,
        in_the_set=_(
            Message(
                "Of 100 faces of each expression, the answers, clear and unclear together, include the right label for about 95."
            )
        ),
        emotions={EMOTION_WORDS.get(name, name): share for name, share in (prediction.emotions or {}).items()},
        meters=meters(prediction.action_units) if prediction.action_units else {},
        colours=AFFECT_COLOURS,
        checkpoint=report.checkpoint,
        limits=LIMITS,
    )


def fault_html(sentence: str, language: str = "en") -> Markup:
    """Return one sentence in the place of an answer: why there is none."""
    return render("answer.html.j2", language, face=None, notes=(), fault=sentence)


def live_html(
    face: FaceReport | None, mean: Mapping[str, float], notes: Sequence[str], language: str, **course
) -> Markup:
    """Return the reading of a webcam frame: the `mean` of the last second under the newest frame's verdict, and its course.

    Without a face, advice takes the reading's place.
    """
    trust = face.assessment if face else None
    beside = (*(face.notes if face else ()), *notes)
    if trust and trust.verdict == "cannot say" and trust.reasons:
        beside = tuple(note for note in beside if note != trust.reasons[0].text)
    return render("live.html.j2", language, trust=trust, mean=mean, notes=beside, colours=AFFECT_COLOURS, **course)


def shares_html(face: FaceReport, language: str = "en") -> Markup:
    """Return the legend of a face's map and each face part's density ratio as bars; nothing without an explanation.

    Where the verdict withholds the answer, the legend does not name it either.
    """
    explanation = face.explanation
    if explanation is None:
        return Markup()
    saliency = explanation.saliency
    requested = saliency.requested_samples
    _ = translator(language)
    samples = _("{count} of {requested} samples", count=saliency.samples, requested=requested)
    details = [
        _(METHODS[saliency.method].title),
        samples if requested > 1 else _("one pass"),
        *(f"{_(name)} {value}" for name, value in saliency.options.items()),
        _("{precision} on {device}", precision=saliency.precision, device=saliency.device),
    ]
    outside = saliency.marks and explanation.shares["outside"] > OUTSIDE_SHARE
    ranked = sorted(explanation.density_ratio.items(), key=lambda item: -item[1])
    return render(
        "shares.html.j2",
        language,
        ramp=colour_bar_css(),
        target=""
        if (face.assessment.verdict, saliency.target) == ("cannot say", face.prediction.label)
        else saliency.target,
        density_ratio={PART_WORDS[part]: ratio for part, ratio in ranked},
        done=saliency.samples / requested,
        signed=saliency.signed is not None,
        warnings=[*([saliency.coverage] if saliency.coverage else []), *([OUTSIDE_WARNING] if outside else [])],
        details=details,
    )


def report_page(report: Report, number: int = 1, language: str = "en", note: str = "") -> Markup:
    """Return one HTML document with the pictures, numbers, settings, checkpoint and limits; it loads nothing.

    `note` is what the reader of the photo wants to say of it.
    """
    return report_document(report_section(report, number, language, note=note), language)


def report_document(body: str, language: str = "en") -> Markup:
    """Return a self-contained document of report sections (HTML), with how to cite the program at its end."""
    citation = render("citation.html.j2", language, version=__version__, today=f"{datetime.now(UTC):%Y-%m-%d}")
    style = STYLE + str(render("report_page.css"))
    return document(translator(language)(TITLE), Markup(body) + citation, style, language)


def headline(verdict: str | None, label: str | None, read: bool = True) -> str:
    """Return the answer in two words of English, which a translator knows.

    `verdict` is None without a face; `label` is the one affect that the answer names, None where it names none.
    """
    if not read:
        return Message("Not read")
    if verdict is None:
        return Message("No face found")
    if verdict == "cannot say":
        return Message("Cannot say")
    return f"{label.capitalize()} expression" if label else Message("Not clear")


def summary_html(results: Sequence[tuple[str, str | None, str]], language: str = "en") -> Markup:
    """Return how many photos have which verdict and answer, and a list of them; each is its title, verdict and headline.

    A photo without a face, or that could not be read, has the verdict None.
    """
    verdicts = Counter(verdict or "none" for _title, verdict, _words in results)
    headlines = Counter(words for _title, _verdict, words in results)
    counts = {name: verdicts[name] for name in (*VERDICTS, "none")}
    answers = {name or "Not clear": headlines[headline("answer", name)] for name in (*AFFECTS, None)}
    return render("summary.html.j2", language, results=results, verdicts=counts, answers=answers)


def report_section(
    report: Report, number: int = 1, language: str = "en", compact: bool = False, note: str = ""
) -> Markup:
    """Return the pictures and answers of one photo; every face is answered, face `number` is drawn.

    `compact` pictures keep a page of 60 photos below 3 MB.
    """
    _ = translator(language)
    view = close_up(report, *((COMPACT_PX,) if compact else ()))
    quality = COMPACT_QUALITY if compact else 90
    pictures = [(_("Face and landmarks"), data_url(draw_faces(view, number), quality))]
    if report.faces and report.face(number).explanation:
        pictures.append((_("What weighed in the answer"), data_url(draw_saliency(view, number), quality)))
    answers = [answer_html(report, face.number, language) + shares_html(face, language) for face in report.faces]
    return render(
        "section.html.j2",
        language,
        pictures=pictures,
        answers=answers or [answer_html(report, number, language)],
        settings=_settings(report, language),
        note=note,
    )


def _settings(report: Report, language: str) -> dict[str, str]:
    """Return what has to be cited of a reading, by its name."""
    _ = translator(language)
    facts = {
        _("File"): report.photo.name,
        _("Read at"): report.read_at,
        _("Program"): f"infant_fer {__version__}",
        _("Checkpoint"): report.checkpoint,
        _("SHA-256 of its weights"): report.weights_sha256,
        _("Photo"): "{} × {} px".format(*report.photo.full_size_wh),
    }
    facts |= {_("Face {number}", number=face.number): _box_words(face, report.photo.scale, _) for face in report.faces}
    return {name: value for name, value in facts.items() if value}


def _box_words(face: FaceReport, scale: float, _: Translate) -> str:
    left, top, right, bottom = (round(value * scale) for value in face.face.box_xyxy)
    place = _("from ({left}, {top}) to ({right}, {bottom})", left=left, top=top, right=right, bottom=bottom)
    return f"{place}; {_('verdict')}: {_(face.assessment.verdict)}"  # the answer has said the reasons
