"""Every text that the page or a report says is in every language's catalogue, with the same {names}."""

import ast
import asyncio
import json
import pickle
import re
from collections.abc import Iterator
from string import Formatter

import gradio as gr
import numpy as np
import pytest

from infant_fer import classifier, images
from infant_fer.analyzer import ExplanationSettings
from infant_fer.checkpoints import hub, limits
from infant_fer.checkpoints.hub import DOWNLOADING
from infant_fer.checkpoints.registry import STILL_LOADING, available_checkpoints
from infant_fer.drawing import MAP_VIEWS, OVERLAYS
from infant_fer.errors import ClipError
from infant_fer.explain import METHODS
from infant_fer.explain.covering import FILL_WORDS
from infant_fer.explain.faithfulness import CURVES
from infant_fer.labels import AFFECTS, AGE_GROUPS, METERS
from infant_fer.locales import LANGUAGES, Message, catalogue, preferred_language, translator
from infant_fer.regions import PART_UNITS, PART_WORDS
from infant_fer.report import LIMITS, OUTSIDE_WARNING
from infant_fer.report_html import EMOTION_WORDS, TITLE, answer_html, shares_html
from infant_fer.synthetic.expressions import EXPRESSIONS
from infant_fer.synthetic.lab import MOVEMENTS, LabSettings
from infant_fer.synthetic.occluders import OCCLUDERS
from infant_fer.templates import render
from infant_fer.trust import rules
from infant_fer.trust.assessment import DISTANCE_WORDS, VERDICTS
from infant_fer.ui import about_tab, live_tab, style
from infant_fer.ui.clip import tab as clip_tab
from infant_fer.ui.downloads import DOWNLOADS, NO_MAP_YET
from infant_fer.ui.event_queue import GuardedBlocks
from infant_fer.ui.lab import reading as lab_reading
from infant_fer.ui.lab import tab as lab_tab
from infant_fer.ui.lab.interpolation import WHAT_IT_SHOWS
from infant_fer.ui.languages import BROWSER_WORDS, GRADIO_NAMES, GRADIO_TEXTS, browser_words
from infant_fer.ui.map_tests import tab as map_tab
from infant_fer.ui.map_tests.experiments import COVERS_PART, COVERS_SPOT, GUESSES, Cover, CoveredAnswer
from infant_fer.ui.page import NO_LAB
from infant_fer.ui.photo import layout, view
from infant_fer.ui.photo.view import user_error
from infant_fer.ui.request_guard import BUSY, NOT_UNDERSTOOD
from infant_fer.ui.several import tab as several_tab
from infant_fer.video.analysis import REGIONS
from infant_fer.video.page import MOMENT_WORDS
from infant_fer.video.timeline import STATES
from tests.conftest import EXAMPLES, ROOT

PACKAGE = ROOT / "infant_fer"
CALLED = re.compile(r'\b_\(\s*"((?:[^"\\]|\\.)*)"')
# Modules whose own texts are the page's. A model card, and what a checkpoint's folder lacks, is said in English.
TRANSLATED = ["report.py", "report_html.py", "ui/**/*.py", "explain/*.py", "video/reading.py", "video/analysis.py"]
TRANSLATED += ["classifier.py", "images.py", "checkpoints/hub.py"]
TRANSLATED += ["synthetic/lab.py", "synthetic/twin.py", "evaluation/plots.py", "evaluation/map_report.py"]

# Faults of TRANSLATED's modules that no visitor meets: of a command's options and paths, and of what a checkpoint's folder holds.
ENGLISH_FAULTS = {
    "classifier.py": ("There is no precision", "There is no device", "The checkpoint knows no"),
    "images.py": (
        "An array photo must be",
        " is not a file.",
        " is larger than 12 MB.",
        " could not be opened",
        " is no possible file",
    ),
    "checkpoints/hub.py": (
        " lacks its file",
        " has more than 3 GB",
        " is larger than 1 MB",
        " has no ",
        "The Hub has no public",
    ),
}
ENGLISH_FAULTS["checkpoints/hub.py"] += (" is not on this computer yet", " could not be uploaded")

SENTENCES = ["trust/rules", "trust/gate", "video/reading", "ui/private_image", "ui/clip/upload", "explain/activation"]
SENTENCES += [
    "deformation",
    "explain/attention",
    "explain/comparison",
    "ui/map_tests/view",
    "synthetic/lab",
    "synthetic/twin",
]


def called_with_literals() -> Iterator[str]:
    """Texts that stand in a call of `_`, `t` or `translator(...)`, in Python and in templates."""
    for path in (path for pattern in TRANSLATED for path in sorted(PACKAGE.glob(pattern))):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            if isinstance(node.func, ast.Attribute) and node.func.attr == "joined":
                yield from (each.value for each in node.args if isinstance(each, ast.Constant))
            if isinstance(node.func, ast.Name) and node.func.id == "Message":  # else its text would be overlooked here
                constant = isinstance(node.args[0], ast.Name) and node.args[0].id.isupper()
                assert constant or isinstance(node.args[0], ast.Constant), (path.name, node.lineno)
            if isinstance(node.args[0], ast.Constant):
                function = node.func.func if isinstance(node.func, ast.Call) else node.func
                if isinstance(function, ast.Name) and function.id in ("_", "t", "translator", "Message"):
                    yield node.args[0].value
                elif isinstance(function, ast.Name) and function.id == "experiment":  # number, title, words, button
                    yield from (argument.value for argument in node.args[1:4])
    for path in (PACKAGE / "templates").glob("*.html.j2"):
        yield from (json.loads(f'"{text}"') for text in CALLED.findall(path.read_text()))


def sentences() -> Iterator[str]:
    """Sentences among the literals of modules that hand them over as constants, docstrings aside."""
    for path in (PACKAGE / f"{name}.py" for name in SENTENCES):
        tree = ast.parse(path.read_text())
        aside = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            text = node.value if isinstance(node, ast.Constant) and id(node) not in aside else None
            if isinstance(text, str) and re.match(r"[A-Z].* .*\.$", text):
                yield text


def texts() -> set[str]:
    tables = [
        DISTANCE_WORDS.values(),
        AFFECTS,
        AGE_GROUPS,
        METERS,
        OVERLAYS,
        MAP_VIEWS,
        VERDICTS,
        BROWSER_WORDS.values(),
        DOWNLOADS.values(),
    ]
    tables += [PART_WORDS.values(), EMOTION_WORDS.values(), layout.EXAMPLE_TITLES.values()]
    tables += [(path.stem.capitalize() for path in EXAMPLES.glob("*.jpg") if path.stem not in layout.EXAMPLE_TITLES)]
    tables += [(f"{affect.capitalize()} expression" for affect in AFFECTS), *about_tab.PARTS, CURVES, MOMENT_WORDS]
    tables += [STATES, (each.words for each in MOVEMENTS), (name.capitalize() for name in EXPRESSIONS), OCCLUDERS]
    tables += [(unit for units in PART_UNITS.values() for unit in units), lab_tab.EXERCISES]
    tables += [(method.title for method in METHODS.values()), (method.reading for method in METHODS.values())]
    tables += [("stronger", "weaker", "infant", "not an infant", "unknown")]
    tables += [method.option_names() for method in METHODS.values()]
    tables += [
        GRADIO_NAMES,
        GRADIO_TEXTS.values(),
        (each.title for each in available_checkpoints() if each.title != each.name),
    ]
    single = {LIMITS, OUTSIDE_WARNING, TITLE, images.UNREADABLE, images.TOO_MANY_PIXELS, rules.NO_FACE_ADVICE}
    single |= {rules.SEARCH_STOPPED, layout.FORMATS, layout.PREDICTED, view.WAITING, style.CAMERA_ADVICE}
    single |= {
        live_tab.IDLE,
        live_tab.PAUSED,
        live_tab.NO_FRAME,
        live_tab.NOTHING_RECORDED,
        live_tab.CAMERA_OFF,
        live_tab.NOT_WHILE_PAUSED,
    }
    single |= {
        clip_tab.IDLE,
        clip_tab.HELP,
        clip_tab.NO_CLIP_YET,
        clip_tab.NO_FRAME,
        clip_tab.WHOLE,
        clip_tab.ALL_FORMATS,
    }
    single |= {
        *clip_tab.RATES,
        *REGIONS,
        map_tab.INTRODUCTION,
        map_tab.EMPTY,
        map_tab.NO_OTHER,
        map_tab.SEVERAL_METHODS,
    }
    single |= {
        COVERS_PART,
        COVERS_SPOT,
        GUESSES,
        *(FILL_WORDS[name].capitalize() for name in ("blur", "skin", "neighbours")),
    }
    single |= {
        lab_tab.INTRODUCTION,
        lab_tab.SERIES,
        lab_tab.TWIN,
        lab_tab.SIMPLER,
        lab_reading.PREPARING,
        lab_reading.NO_FACE,
    }
    single |= {f"{LabSettings({}).brightness:g} is usual", WHAT_IT_SHOWS}
    single |= {
        NOT_UNDERSTOOD,
        BUSY,
        DOWNLOADING,
        STILL_LOADING,
        *(limits.TOOK_TOO_LONG, limits.CAME_TOO_SLOWLY, limits.WAS_TOO_LARGE, classifier.NOT_FINITE),
        *(hub.ANSWER_CUT, hub.FILE_CUT, hub.NOT_DOWNLOADED, hub.FILE_LOST, hub.ALTERED, hub.CHANGED),
        *(hub.UNREACHABLE, hub.NOT_ANSWERED, hub.NOT_LOOKED_UP, hub.NOT_WHOLE, hub.DISK_FULL, hub.PORTAL_HINT),
        view.NOTHING_YET,
        NO_MAP_YET,
        clip_tab.TOO_SLOW,
        about_tab.IN_ENGLISH,
        about_tab.NO_CARD,
        about_tab.NOT_LOADED,
        *NO_LAB,
        several_tab.NO_LONGER_KEPT,
    }
    single |= {"or", several_tab.FULL, several_tab.NONE_YET, *several_tab.TITLES.values()}
    return single | {text for table in tables for text in table} | {*called_with_literals()} | {*sentences()}


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_no_text_is_missing_and_none_is_left_over(language):
    assert sorted(texts() - set(catalogue(language))) == []
    assert sorted(set(catalogue(language)) - texts()) == []


@pytest.mark.parametrize("name", ENGLISH_FAULTS)
def test_a_fault_that_a_visitor_meets_is_no_text_that_cannot_be_translated(name):
    """Neither an f-string, which has its values already, nor a plain text that no catalogue has."""
    known, plain = catalogue("de"), set()
    for node in ast.walk(ast.parse((PACKAGE / name).read_text())):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id.endswith("Error")):
            continue
        for each in ast.walk(node):
            if isinstance(each, ast.JoinedStr):
                plain.add("".join(part.value if isinstance(part, ast.Constant) else "" for part in each.values))
        plain |= {each.value for each in node.args if isinstance(each, ast.Constant) and each.value not in known}
    assert [text for text in plain if not any(words in text for words in ENGLISH_FAULTS[name])] == []


def test_what_was_wrong_with_a_download_is_said_in_the_visitors_language():
    cut = Message(hub.FILE_CUT, file="config.json", name="a/b", fault=(limits.CAME_TOO_SLOWLY,))
    assert cut == "config.json of a/b came too slowly. Try again later."
    assert translator("de")(cut) == "config.json von a/b kam zu langsam. Versuchen Sie es später noch einmal."


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_an_infant_is_not_called_a_newborn(language):
    words = [catalogue(language)[each] for each in ("infant", "not an infant", *AGE_GROUPS)]
    assert len(set(words)) == len(words)
    newborn = re.compile(rf"\b{catalogue(language)['newborn']}\b")
    assert [text for text, said in catalogue(language).items() if newborn.search(said) and "newborn" not in text] == []


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_names_in_braces_are_those_of_the_english_text(language):
    def names(text: str) -> set[str]:
        return {name for _, name, _, _ in Formatter().parse(text) if name}

    assert [text for text, translated in catalogue(language).items() if names(text) != names(translated)] == []


def test_the_language_is_what_the_browser_asks_for_first():
    assert preferred_language("de-DE,de;q=0.9,en;q=0.8") == "de"
    assert preferred_language("fr, it;q=0.5, en;q=0.4") == "it"
    assert preferred_language("en;q=0.1, da;q=0.7") == "da"
    assert preferred_language("de;q=0, sv") == "en"
    assert preferred_language("") == "en"
    assert preferred_language(";;;,,q=x") == "en"


def test_a_sentence_with_values_is_said_in_each_language_and_stays_one_when_copied():
    reason = Message("The expression is not clear: it may look {affects}.", affects=("neutral", "negative"))
    assert reason == "The expression is not clear: it may look neutral or negative."
    german = "Der Ausdruck ist nicht eindeutig: Er kann neutral oder negativ aussehen."
    assert translator("de")(pickle.loads(pickle.dumps(reason))) == translator("de")(reason) == german
    assert translator("en")(reason) == reason


def test_an_answer_speaks_every_language(analyzer):
    report = analyzer.analyze(EXAMPLES / "smile.jpg")
    for language in LANGUAGES:
        headline = translator(language)("Positive expression")
        assert f"{headline}</h2>" in answer_html(report, 1, language)
        assert json.loads(browser_words())[language]["map"] == translator(language)("Map")


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_the_legend_names_the_method_in_every_language(analyzer, language):
    report = analyzer.analyze(EXAMPLES / "smile.jpg")
    (face,) = analyzer.explain(report, 1, ExplanationSettings(method="part_occlusion")).faces
    title = translator(language)(METHODS["part_occlusion"].title)
    assert title != METHODS["part_occlusion"].title
    assert title in shares_html(face, language)


def test_until_has_its_negation_in_italian():
    """Without it "until" means "as long as": pictures would stay while they are deleted."""
    until = [text for text in catalogue("it").values() if re.search(r"\bfinché\b(?! non\b)(?! il server non\b)", text)]
    assert until == []


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_results_of_experiments_speak_every_language(language):
    _ = translator(language)
    answer = CoveredAnswer(
        np.zeros((8, 8, 3), np.uint8),
        {"positive": 0.9, "neutral": 0.1, "negative": 0.0},
        {"positive": 0.2, "neutral": 0.8, "negative": 0.0},
        "positive",
        Cover(parts=("brows", "mouth"), spots=((0.5, 0.5), (0.2, 0.2))).words,
    )
    html = render("map_tests.html.j2", language, kind="cover", answer=answer, colours={})
    for words in ("brows", "mouth", "positive", "neutral"):
        assert _(words) in html
    assert f"{_('positive')} 90 → 20 %" in html
    assert answer.sentence == (
        "Covering the brows, the mouth and 2 spots: positive 90 → 20 %. The answer is now neutral."
    )
    assert english_in(re.sub("<[^>]*>", "\n", html), language) == set()


@pytest.mark.parametrize("language", LANGUAGES[1:])
@pytest.mark.parametrize("shown_by_hand", [True, False])
def test_an_error_is_said_in_the_visitors_language(language, shown_by_hand):
    error = ClipError(Message("Only {limit:g} seconds were read, the limit.", limit=180))

    def fails(request: gr.Request):
        raise user_error(error) if shown_by_hand else error

    with GuardedBlocks() as page:
        gr.Button().click(fails)
    request = gr.Request(headers={"accept-language": f"{language};q=0.9"}, session_hash="visitor")
    with pytest.raises(gr.Error) as raised:
        asyncio.run(page.process_api(0, [], request=request))
    assert raised.value.message == translator(language)("Only {limit:g} seconds were read, the limit.", limit=180)
    assert raised.value.message != "Only 180 seconds were read, the limit."


def english_in(text: str, language: str) -> set[str]:
    """Return the lines of a shown text that are English, though the language has other words for them."""
    other = {english for english, words in catalogue(language).items() if words != english}
    meanwhile = set(catalogue(language).values())  # "label" may be a word of the other language too
    return {line.strip() for line in text.splitlines() if line.strip() in other - meanwhile}
