"""What must be said of a checkpoint? Its model card, filled in from measured figures."""

from __future__ import annotations

from huggingface_hub import EvalResult, ModelCardData

from infant_fer.metrics import Proportion

WHAT = """
Reads the affect (positive, neutral, negative) of an infant's aligned face, with seven emotions, valence, arousal, age group, whether
the crop is a usable infant's face, and whether the eyes are closed or the mouth is covered. The image stream is the mean of
{members} networks (convolutions, then transformer layers); the geometry stream (MediaPipe landmarks and blendshapes) is fused late.
Load it with the `infant_fer` package.
"""

USE = """## Intended use
Naming what an infant's expression **looks like** in a photo or webcam picture (positive, neutral, negative), with a map of what
weighed in the answer: for research, teaching and curiosity. It does not know what an infant feels or needs.

Not a medical device; not for any decision about care or health. Not for inferring emotions of pupils or staff in schools or at work.
"""

DATA = """## Data and licence
- FER2013 (Goodfellow et al. 2013): 28,709 grey 48 px faces of adults and children, seven emotions, for pretraining.
- 4,617 infants' faces from UTKFace (Zhang, Song and Qi 2017), FER2013 and the web, labelled in two independent passes by a
  large vision-language model with one written guide (agreement on affect 91 to 95 %); the votes are soft labels.
- 4,000 older faces of UTKFace (4 to 116 years) as what the "usable" head must decline.
- Of the infants and FER2013, training pictures that nearly equal a dev or test infant's were left out.

FER2013 and UTKFace allow no commercial use, and the web pictures' licences are unknown:
**these weights are for research and teaching only**.
"""

LIMITS = """## Known failures and limits
- The affects and ages are not read equally well; see the shares of right answers above.
- The emotion head is tuned to infants; on FER2013's adults it reads the seven emotions worse than before the fine-tuning.
- Geometry adds little to the image stream on these rows (see the table); it steadies, it does not decide.
- Crying and laughing share the open mouth and raised cheeks; a cry seen from the side or covered by a hand may read as a laugh.
- The labels are what two raters saw in a picture; nobody asked the infant. Where raters differ, no answer is right.
- The same infant in different photographs could not always be recognised when the data were split.
- Skin tones, ages and countries are represented as the web represents them: unevenly. Figures per group are above where n allows.
- Faces of older children and adults get an answer too; the "usable" score and a note warn of them.
"""


def model_card(name: str, results: dict) -> str:
    """The README.md of a checkpoint, from `ours.run`'s results."""
    split = "test" if "test" in results else "dev"
    figures = results[split]
    return "\n".join(
        (
            _front_matter(name, split, figures),
            f"# {name}",
            WHAT.format(members=results["run"]["learning"]["members"]),
            USE,
            f"## Figures on the {split} rows",
            "Intervals are Wilson's, 95 %.",
            "",
            accuracy_table(figures["accuracy"]),
            "",
            *(f"- right among {group}: {share}" for group, share in figures["recall"].items()),
            *(f"- {quantity}: {value:.3f}" for quantity, value in figures["heads"].items()),
            f"- FER2013 ({'private' if split == 'test' else 'public'} test), seven emotions: {figures['emotions of FER2013']}",
            "- exact McNemar test against " + "; ".join(_p_values(figures["McNemar p"])),
            "",
            DATA,
            _making(results["run"], "test" in results),
            LIMITS,
        )
    )


def _front_matter(name: str, split: str, figures: dict) -> str:
    """The YAML head of the card, with one model-index entry for each source of the infants' pictures."""
    results = [
        EvalResult(
            task_type="image-classification",
            dataset_type=f"infants-{source}",
            dataset_name=f"{source} infants",
            dataset_split=split,
            metric_type="accuracy",
            metric_value=round(share.value, 4),
        )
        for source, share in figures["accuracy"]["this checkpoint"].items()
    ]
    card = ModelCardData(
        license="other",
        license_name="research-and-teaching-only",
        library_name="transformers",
        pipeline_tag="image-classification",
        tags=["facial-expression-recognition", "infants"],
        model_name=name,
        eval_results=results,
    )
    return f"---\n{card.to_yaml()}\n---\n"


def _making(run: dict, tested: bool) -> str:
    minutes = " and ".join(f"{each:.0f}" for each in run["minutes"])
    return (
        f"## How it was made\n`{run['command']}`, seed {run['seed']}, on {run['machine']} ({minutes} minutes for the "
        f"networks), torch {run['torch']}: {run['how']}. Choices were made on the dev rows; the test rows were "
        f"{'measured once' if tested else 'not measured'}. Every setting and figure is in `metrics.json`.\n"
    )


def _p_values(values: dict[str, float]) -> list[str]:
    return [f"{other}: p = {p:.2g}" for other, p in values.items() if other != "this checkpoint"]


def accuracy_table(accuracy: dict[str, dict[str, Proportion]]) -> str:
    """Rows are models, columns sources; each cell has the share with its 95 % Wilson interval."""
    sources = list(next(iter(accuracy.values())))
    counts = next(iter(accuracy.values()))
    head = (
        "| accuracy, three affects | " + " | ".join(f"{source} (n = {counts[source].n})" for source in sources) + " |"
    )
    rows = [
        f"| {model} | " + " | ".join(_cell(shares[source]) for source in sources) + " |"
        for model, shares in accuracy.items()
    ]
    return "\n".join([head, "|---" * (len(sources) + 1) + "|", *rows])


def _cell(share: Proportion) -> str:
    low, high = share.interval
    return f"{share.value * 100:.1f} % ({low * 100:.0f}–{high * 100:.0f})"
