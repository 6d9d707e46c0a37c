"""The About tab: what the page does and does not, the loaded checkpoint's card, privacy, licence and citation."""

from __future__ import annotations

import re
from collections.abc import Sequence

import gradio as gr
from markupsafe import escape

from infant_fer.analyzer import Analyzer
from infant_fer.checkpoints.registry import CheckpointRegistry
from infant_fer.locales import translator
from infant_fer.ui.languages import label as t
from infant_fer.ui.languages import language_of

# Three short parts; the catalogues have them whole.
PARTS = (
    (
        "What it does, and what not",
        "It finds infants' faces in a photo, names what the expression looks like (positive, neutral or negative), and shows which "
        "parts of the face weighed in the answer. It does not know what an infant feels, wants or needs: the name of an expression "
        "is not the name of a feeling. It is not a medical device, and no decision about care or health should rest on it. It is "
        "not for inferring emotions of pupils or staff. It errs, more so on small, covered, turned, blurred or poorly lit faces; "
        "where it can tell, it says so or gives no answer. The labels from which this project's own checkpoints learned were given "
        "by an AI model with a written guide and by the sources of the pictures, not by parents.",
    ),
    (
        "Your pictures",
        "A photo lies in a private folder, in memory where the system has one, until the server has read it, usually within a second; "
        "then it is deleted. The server sends nothing on, no identity is computed, and the place and camera data of the file are "
        "dropped. In memory stay your last photo, the newest webcam frame, the list of readings, the recording of the live "
        "readings and the clip's timeline, until you replace or clear them, close the page, or leave it idle for half an hour.",
    ),
    (
        "Licence and citation",
        "The code is open source (MIT). Weights trained on research data are for research and teaching only: see the card below. "
        "Reports say how to cite them. Methods: SmoothGrad (Smilkov et al. 2017, arXiv:1706.03825); face landmarks by MediaPipe; "
        "City Infant Faces (Webb, Ayers and Endress 2018, doi:10.3758/s13428-017-0859-9) is the classic set for this task.",
    ),
)
TABLE = re.compile(r"^((?:\|.*\n)+(?:\|.*)?)", re.MULTILINE)  # in Markdown
HEADING = re.compile(r"^##+ +(.+)$", re.MULTILINE)
IN_ENGLISH = "The card and the server's log are in English."
NOT_LOADED = "The chosen checkpoint could not be loaded, so its model card cannot be shown."
NO_CARD = "This checkpoint has no model card: its data and its limits are not known."


def build_about_tab(
    registry: CheckpointRegistry, checkpoint: gr.Dropdown, loaded, further: Sequence[tuple[str, str]] = ()
) -> None:
    """Lay out the tab; the card follows the chosen checkpoint, after the event that has loaded it.

    `further` are headings and texts that follow those of every page.
    """
    for heading, text in (*PARTS, *further):
        gr.Markdown(f"## {t(heading)}")
        gr.Markdown(t(text), elem_classes="about-text")
    with gr.Accordion(t("Model card of the chosen checkpoint"), open=True):
        gr.Markdown(t(IN_ENGLISH))
        card = gr.Markdown(_card(registry.analyzer(registry.default)) or t(NO_CARD), elem_id="card")

    def on_checkpoint(name: str, request: gr.Request) -> str:
        analyzer, _ = registry.loaded(name), translator(language_of(request))
        return _(NOT_LOADED) if analyzer is None else _card(analyzer) or _(NO_CARD)

    loaded.then(on_checkpoint, [checkpoint], [card], show_progress="hidden", api_visibility="private")


def _card(analyzer: Analyzer) -> str:
    """Return a loaded checkpoint's README without its YAML front matter, its tables folded; empty where it has none.

    A folded table is named by the heading above it and its first cell with words.
    """
    card = re.sub(r"\A---\n.*?\n---\n", "", analyzer.classifier.card, flags=re.DOTALL).strip()

    def folded(table: re.Match) -> str:
        head, *_ = table[1].splitlines()
        names = (
            HEADING.findall(card[: table.start()])[-1:] + [cell.strip() for cell in head.split("|") if cell.strip()][:1]
        )
        return f"<details><summary>{escape(': '.join(names))}</summary>\n\n{table[1]}\n</details>\n\n"

    return TABLE.sub(folded, card)
