"""The About tab: what the page does and does not, the loaded checkpoint's card, privacy, licence and citation."""

from __future__ import annotations

import re

import gradio as gr

from infant_fer.analyzer import Analyzer
from infant_fer.checkpoints.registry import CheckpointRegistry

ABOUT = """
## What this page does
It finds infants' faces in a photo, names what the expression **looks like** (positive, neutral or negative), and shows which parts
of the picture weighed in the answer (SmoothGrad: gradients averaged over noisy copies of the face).

## What it does not do
- It does not know what an infant feels, wants or needs. The name of an expression is not the name of a feeling.
- It is **not a medical device**. Do not base any decision about care or health on it.
- It is not meant for inferring emotions of pupils or staff in schools or at work.
- It makes mistakes. Small, covered, turned, blurred or dark faces, masks, dolls and drawings mislead it. It was not made for the
  faces of adults and older children.

## Your pictures
An uploaded photo is held in a private folder until the server reads it, usually within a second, and is then deleted. Where the
system has a folder in memory with enough room, that one is used. Nothing else is written to disk, nothing is sent anywhere, no
identity is computed, and the location and camera data in the file are dropped. Your last photo and its report stay in the
server's memory until you close the page, choose another photo, or leave the page idle for half an hour.

## Licence and citation
The code is open source (MIT). Weights trained on research data may be used for research and teaching only: see the card below.
Methods: SmoothGrad (Smilkov et al. 2017, arXiv:1706.03825); face landmarks by MediaPipe; City Infant Faces
(Webb, Ayers and Endress 2018, doi:10.3758/s13428-017-0859-9) is the classic set for this task.
To cite this software: *infant_fer, open reading of infants' facial expressions*, with the version and the checkpoint's name.
"""
NOT_LOADED = "The chosen checkpoint could not be loaded, so its model card cannot be shown."
NO_CARD = "This checkpoint has no model card: its data and its limits are not known."


def build_about_tab(registry: CheckpointRegistry, checkpoint: gr.Dropdown, loaded) -> None:
    """Lay out the tab; the card follows the chosen checkpoint, after the event that has loaded it."""
    gr.Markdown(ABOUT)
    with gr.Accordion("Model card of the chosen checkpoint", open=True):
        card = gr.Markdown(_card(registry.analyzer(registry.default)), elem_id="card")

    def on_checkpoint(name: str) -> str:
        return _card(registry.loaded(name))

    loaded.then(on_checkpoint, [checkpoint], [card], show_progress="hidden", api_visibility="private")


def _card(analyzer: Analyzer | None) -> str:
    """Return a loaded checkpoint's README without its YAML front matter."""
    if analyzer is None:
        return NOT_LOADED
    return re.sub(r"\A---\n.*?\n---\n", "", analyzer.classifier.card, flags=re.DOTALL).strip() or NO_CARD
