"""How is an interpolation between two expressions shown? A strip of pictures, the probabilities as a plot, and a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from infant_fer.images import data_url
from infant_fer.labels import AFFECT_COLOURS, AFFECTS
from infant_fer.locales import Translate, translator
from infant_fer.synthetic.lab import InterpolationStep, flips, interpolation_sentence
from infant_fer.ui.charts import key, line

WHAT_IT_SHOWS = (
    "Rendered pictures of an infant that does not exist. The series shows how this model answers, not how an expression changes in "
    "life, nor what an infant feels."
)
UNKNOWN_COLOUR = "#999999"
JPEG_QUALITY = 80
LEFT, RIGHT, TOP, BOTTOM = 34, 350, 26, 150  # of the plot, in units of its picture of 360 × 186


def interpolation_html(
    steps: Sequence[InterpolationStep], requested: int, ends: tuple[str, str], ended: bool = False, language: str = "en"
) -> str:
    """Return the steps so far, of `requested`, as HTML; `ends` name the expressions; `ended` where no step will follow."""
    _ = translator(language)
    if not ended and len(steps) < requested:
        words = _("Rendering picture {number} of {count}", number=len(steps) + 1, count=requested)
        bar = f'<p>{words}</p><progress value="{len(steps)}" max="{requested}" aria-label="{words}"></progress>'
        return f'<div class="ife">{bar}{_strip(steps, _)}</div>'
    sentence = _(interpolation_sentence([step.label for step in steps]))
    start, end = (_(name.capitalize()) for name in ends)
    stopped = _("Stopped after {number} of {count} pictures.", number=len(steps), count=requested)
    return (
        f'<div class="ife"><h3>{escape(_("From “{start}” to “{end}”", start=start, end=end))}</h3>'
        f"{f'<p>{stopped}</p>' if len(steps) < requested else ''}<p><b>{escape(sentence)}</b></p>"
        f"{_strip(steps, _)}{_plot(steps, sentence, _)}{_numbers(steps, _)}"
        f'<p class="quiet">{escape(_(WHAT_IT_SHOWS))}</p></div>'
    )


def _strip(steps: Sequence[InterpolationStep], _: Translate) -> str:
    figures = "".join(
        f'<figure style="border-color:{AFFECT_COLOURS.get(step.label or "", UNKNOWN_COLOUR)}">'
        f'<img src="{data_url(step.image, JPEG_QUALITY)}" alt="{_("Step {number}", number=step.number)}: {_answer(step, _)}">'
        f"<figcaption>{step.number}: {_answer(step, _)}</figcaption></figure>"
        for step in steps
    )
    return f'<div class="strip">{figures}</div>'


def _answer(step: InterpolationStep, _: Translate) -> str:
    return _(step.label or "no face")


def _plot(steps: Sequence[InterpolationStep], sentence: str, _: Translate) -> str:
    """Return three lines as SVG, steps from left to right, probability from bottom to top; flips are marked."""
    label = escape(f"{_('Probabilities of the three classes over {count} steps.', count=len(steps))} {sentence}")
    return (
        f'<svg class="interpolation-plot" viewBox="0 0 360 186" role="img" aria-label="{label}">'
        f"{_axes(len(steps), _)}{_flip_marks(steps)}{''.join(_line(steps, affect) for affect in AFFECTS)}{key(LEFT, _)}</svg>"
    )


def _x(number: float, count: int) -> float:
    return LEFT + (number - 1) / max(count - 1, 1) * (RIGHT - LEFT)


def _y(probability: float) -> float:
    return BOTTOM - probability * (BOTTOM - TOP)


def _axes(count: int, _: Translate) -> str:
    rules = "".join(
        f'<line x1="{LEFT}" x2="{RIGHT}" y1="{_y(value):.0f}" y2="{_y(value):.0f}" stroke="currentColor" opacity=".25"/>'
        f'<text x="{LEFT - 4}" y="{_y(value) + 4:.0f}" text-anchor="end">{value:.0%}</text>'
        for value in (0, 0.5, 1)
    )
    ticks = "".join(
        f'<text x="{_x(number, count):.1f}" y="{BOTTOM + 14}" text-anchor="middle">{number}</text>'
        for number in range(1, count + 1)
    )
    axis = f'<text x="{(LEFT + RIGHT) / 2}" y="{BOTTOM + 30}" text-anchor="middle">{_("step")}</text>'
    return f'<g font-size="11" fill="currentColor">{rules}{ticks}{axis}</g>'


def _flip_marks(steps: Sequence[InterpolationStep]) -> str:
    """Return a band between the two steps of every flip; bands of neighbours do not touch."""
    bands = [
        (_x(flip.before, len(steps)) + 2, _x(flip.after, len(steps)) - 2)
        for flip in flips([step.label for step in steps])
    ]
    return "".join(
        f'<rect class="flip" x="{left:.1f}" width="{right - left:.1f}" y="{TOP}" height="{BOTTOM - TOP}" fill="#E69F00" opacity=".28"/>'
        for left, right in bands
    )


def _line(steps: Sequence[InterpolationStep], affect: str) -> str:
    """Return a line with a dot a step; steps without a face are left out."""
    points = [
        (_x(step.number, len(steps)), _y(step.probabilities[affect]))
        for step in steps
        if step.probabilities is not None
    ]
    colour = AFFECT_COLOURS[affect]
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>' for x, y in points)
    return line(points, affect) + dots


def _numbers(steps: Sequence[InterpolationStep], _: Translate) -> str:
    head = "".join(f'<th scope="col">{words}</th>' for words in (_("step"), *map(_, AFFECTS)))
    rows = "".join(
        f'<tr><th scope="row">{step.number}</th>'
        + "".join(
            f"<td>{step.probabilities[affect]:.0%}</td>" if step.probabilities else "<td>–</td>" for affect in AFFECTS
        )
        + "</tr>"
        for step in steps
    )
    return f'<details><summary>{_("The numbers")}</summary><table class="interpolation-numbers"><tr>{head}</tr>{rows}</table></details>'
