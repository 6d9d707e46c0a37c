"""What must be said of a checkpoint? Its model card, filled in from measured figures."""

from __future__ import annotations

from infant_fer.training.metrics import Share

FRONT_MATTER = """---
license: other
license_name: research-and-teaching-only
library_name: transformers
pipeline_tag: image-classification
tags: [facial-expression-recognition, infants]
---
"""

USE = """## Intended use
Naming what an infant's expression **looks like** in a photo or webcam picture (positive, neutral, negative), with a map of what
weighed in the answer: for research, teaching and curiosity. It does not know what an infant feels or needs.

Not a medical device; not for any decision about care or health. Not for inferring emotions of pupils or staff in schools or at work.
"""

DATA = """## Data and licence
- FER2013 (Goodfellow et al. 2013): 28,709 grey 48 px faces of adults and children, seven emotions, for pretraining; pictures that nearly
  equal a dev or test infant were left out.
- 4,617 infants' faces from UTKFace (Zhang, Song and Qi 2017), FER2013 and the web, labelled in two independent passes by a large
  vision-language model with one written guide (agreement on affect 91 to 95 %); the votes are soft labels. Splits keep near-duplicates together.
- 4,000 older faces of UTKFace (4 to 116 years) as what the "usable" head must decline.

FER2013 and UTKFace allow no commercial use, and the web pictures' licences are unknown: **these weights are for research and teaching only**.
"""

LIMITS = """## Known failures and limits
- The few negative faces of UTKFace and neutral faces of FER2013 are read worst; see the recalls above.
- Crying and laughing share the open mouth and raised cheeks; a cry seen from the side or covered by a hand may read as a laugh.
- The labels are what two raters saw in a picture; nobody asked the infant. Where raters differ, no answer is right.
- The same infant in different photographs could not always be recognised when the data were split.
- Skin tones, ages and countries are represented as the web represents them: unevenly. Figures per group are above where n allows.
- Faces of older children and adults get an answer too; the "usable" score and a note warn of them.
"""


def model_card(name: str, results: dict) -> str:
    """The README.md of a checkpoint, from `ours.run`'s results."""
    split = "test" if "test" in results else "dev"
    figures, run = results[split], results["run"]
    return "\n".join(
        (
            FRONT_MATTER,
            f"# {name}",
            "",
            "Reads the affect (positive, neutral, negative) of an infant's aligned face, with seven emotions, valence, arousal, age group, ",
            "whether the crop is a usable infant's face, and whether the eyes are closed. Image stream (convolutions, then transformer layers)",
            "and geometry stream (MediaPipe landmarks and blendshapes), fused late. Load it with the `infant_fer` package.",
            "",
            USE,
            f"## Figures on the {split} rows",
            _accuracy_table(figures["accuracy"]),
            "",
            *(f"- {group}: {share}" for group, share in figures["recall"].items()),
            "",
            *(f"- {quantity}: {value:.3f}" for quantity, value in figures["heads"].items()),
            f"- FER2013 ({'private' if split == 'test' else 'public'} test), seven emotions, all ages: {figures['emotions of FER2013']}",
            *(f"- McNemar's p against {other}: {p:.2g}" for other, p in figures["McNemar p"].items() if other != "this checkpoint"),
            "",
            DATA,
            "## How it was made",
            f"`{run['command']}`; fine-tuning seeds {run['seeds']} with averaged weights; {run['minutes']} minutes for this command on "
            f"{run['machine']}, torch {run['torch']}. Settings and every figure are in `metrics.json`.",
            "",
            LIMITS,
        )
    )


def _accuracy_table(accuracy: dict[str, dict[str, Share]]) -> str:
    """Rows are models, columns sources; each cell has the share with its 95 % Wilson interval."""
    sources = list(next(iter(accuracy.values())))
    counts = next(iter(accuracy.values()))
    head = "| accuracy, three affects | " + " | ".join(f"{source} (n = {counts[source].n})" for source in sources) + " |"
    rows = [f"| {model} | " + " | ".join(_cell(shares[source]) for source in sources) + " |" for model, shares in accuracy.items()]
    return "\n".join([head, "|---" * (len(sources) + 1) + "|", *rows])


def _cell(share: Share) -> str:
    low, high = share.interval
    return f"{share.value * 100:.1f} % ({low * 100:.0f}–{high * 100:.0f})"
