"""Scores known by hand, the overfitting verdict and the plots."""

import json
from dataclasses import asdict, replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from infant_fer.errors import DatasetError
from infant_fer.evaluation import plots
from infant_fer.evaluation.predictions import (
    Predictions,
    RepeatedPredictions,
    class_weights,
    ensemble,
    unique_name,
    votes,
)
from infant_fer.evaluation.report import (
    BEST,
    PRIVATE,
    WORST,
    Section,
    accuracy_blocks,
    class_blocks,
    galleries,
    report_page,
)
from infant_fer.evaluation.scores import (
    figures,
    mcnemar,
    mcnemar_caution,
    repeated_scores,
    scores,
    subgroup_accuracies,
    thesis_spread,
    top_two,
)
from infant_fer.labels import AFFECTS
from infant_fer.metrics import Proportion
from infant_fer.training.reports.history import Epoch, Fold, mean_curve, steps_of, verdict_of_folds, verdict_of_run


def answers(probabilities, truth, labels=AFFECTS, subject=None, **subgroups) -> Predictions:
    members = tuple(f"{n}.jpg" for n in range(len(truth)))
    columns = {name: np.array(values) for name, values in subgroups.items()}
    subject = np.array(members if subject is None else subject)
    return Predictions(tuple(labels), np.array(probabilities, float), np.array(truth), members, subject, columns)


FOUR = answers(
    [[0.8, 0.1, 0.1], [0.2, 0.5, 0.3], [0.1, 0.6, 0.3], [0.5, 0.1, 0.4]],
    [0, 1, 2, 2],
    source=["web", "web", "cam", "cam"],
)


def test_scores_by_hand():
    found = scores(FOUR).to_dict()
    assert found["accuracy"]["right"] == 2
    assert found["per class"]["negative"]["value"] == 0
    assert found["balanced accuracy"] == pytest.approx(2 / 3)
    assert found["variance over classes"] == pytest.approx(2 / 9)
    assert found["per subgroup"]["source"]["web"]["value"] == 1
    assert (top_two(FOUR).right, top_two(FOUR).n) == (4, 4)
    assert found["F1 per class"] == pytest.approx({"positive": 2 / 3, "neutral": 2 / 3, "negative": 0})
    assert (found["Top-2, mean over classes"], found["Top-2, variance over classes"]) == (1, 0)
    # negative over neutral: 0.3 / 0.5 for the neutral one, 0.3 / 0.6 and 0.4 / 0.1 for the negative ones
    assert found["AUC negative against neutral"] == 0.5
    assert subgroup_accuracies(FOUR, "source")["cam"].right == 0
    json.dumps(found, allow_nan=False)


THREE = answers(
    [[0.1, 0.6, 0.3], [0.2, 0.7, 0.1], [0.3, 0.1, 0.6], [0.1, 0.3, 0.6]],
    [0, 1, 2, 2],
)


def test_top_two_over_classes_by_hand():
    """The positive face is in third place, the others are in the first: shares of 0, 1 and 1."""
    found = figures(THREE)
    assert found["Top-2, mean over classes"] == pytest.approx(2 / 3)
    assert found["Top-2, variance over classes"] == pytest.approx(2 / 9)


def test_the_best_and_the_worst_model_of_each_class_are_marked_in_words_and_colour():
    _, table = class_blocks({"first": FOUR, "second": THREE})
    rows = dict(table.cells)
    assert rows["positive"] == [(f"0.667 {BEST}", f"number {BEST}"), (f"0.000 {WORST}", f"number {WORST}")]
    assert rows["neutral"] == [("0.667", "number")] * 2  # alike
    assert rows["negative"] == [(f"0.000 {WORST}", f"number {WORST}"), (f"1.000 {BEST}", f"number {BEST}")]
    assert [text for text, _ in rows["Top-1, mean over classes"]] == ["0.667", "0.667"]
    assert [text for text, _ in rows["Top-2, variance over classes"]] == ["0.000", "0.222"]
    page = report_page("x", [Section("Classes", [table])])
    assert f'<td class="number {BEST}">1.000 {BEST}</td>' in page
    assert f"td.{BEST} {{ background" in page
    assert class_blocks({"first": FOUR}) == []


def test_what_every_model_named_a_face():
    found = votes({"first": FOUR, "second": THREE})
    assert found[0] == {"picture": "0.jpg", "truth": "positive", "named": {"first": "positive", "second": "neutral"}}
    assert [each["named"]["second"] for each in found] == ["neutral", "neutral", "negative", "negative"]
    for folder in ("/home/me/", "C:\\Users\\me\\"):
        moved = replace(FOUR, members=tuple(f"{folder}{name}" for name in FOUR.members))
        assert votes({"first": moved})[0]["picture"] == "0.jpg"


@pytest.mark.parametrize(
    ("names", "unique"),
    [
        (["mine", "mine", "mine"], ["mine", "mine (2)", "mine (3)"]),
        (["mine (2)", "mine"], ["mine (2)", "mine"]),
        (["mine (2)", "mine", "mine"], ["mine (2)", "mine", "mine (3)"]),
    ],
)
def test_a_folder_that_has_a_number_in_its_name_does_not_take_the_next_ones_place(names, unique):
    found: list[str] = []
    for name in names:
        found.append(unique_name(name, found))
    assert found == unique


def test_the_gallery_has_the_surest_wrong_and_right_answers_and_their_votes():
    crops = np.zeros((4, 8, 8, 3), np.uint8)
    wrong, right = galleries(FOUR, crops, {"first": FOUR, "second": THREE})
    assert (wrong.heading, right.heading) == ("Wrong answers", "Right answers")
    assert [each.caption for each in right.blocks[1:]] == [
        "labelled positive, read as positive (80 %). first: positive, second: neutral",
        "labelled neutral, read as neutral (50 %). first: neutral, second: neutral",
    ]
    assert [each.caption[:40] for each in wrong.blocks[1:]] == [
        "labelled negative, read as neutral (60 %",
        "labelled negative, read as positive (50 ",
    ]
    assert wrong.blocks[0].words == right.blocks[0].words == PRIVATE
    none, alone = galleries(FOUR.rows(np.array([True, True, False, False])), crops[:2])
    assert [each.words for each in none.blocks] == ["No answer was wrong."]
    assert alone.blocks[1].caption == "labelled positive, read as positive (80 %)"


def test_a_class_that_never_occurs_is_none_and_no_number():
    found = scores(answers([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1]], [0, 0])).to_dict()
    assert found["per class"]["negative"]["value"] is None
    assert found["AUC negative against neutral"] is None
    assert found["balanced accuracy"] == 1


def test_emotions_are_summed_into_affects_for_the_aucs():
    found = scores(
        answers([[0.5, 0.4, 0.1], [0.1, 0.2, 0.7], [0.2, 0.7, 0.1]], [0, 2, 1], ["happy", "sad", "neutral"])
    ).to_dict()
    assert found["AUC positive against the rest"] == 1
    assert found["AUC negative against neutral"] == 1


def test_an_ensemble_averages_and_weighs():
    first, second = answers([[1, 0, 0]], [0]), answers([[0, 1, 0]], [0])
    np.testing.assert_allclose(ensemble([first, second]).probabilities, [[0.5, 0.5, 0]])
    np.testing.assert_allclose(ensemble([first, second], [3, 1]).probabilities, [[0.75, 0.25, 0]])
    with pytest.raises(DatasetError, match="same classes"):
        ensemble([first, answers([[1, 0, 0]], [0], ["happy", "sad", "fear"])])


def test_mcnemar_needs_the_same_pictures():
    assert mcnemar(FOUR, {"itself": FOUR}) == {"itself": 1.0}
    with pytest.raises(DatasetError, match="same images"):
        mcnemar(FOUR, {"other": FOUR.rows(np.array([True, False, True, True]))})


def epoch(number, train, dev, dev_loss) -> Epoch:
    return Epoch(number, 1 - train, train, dev_loss, dev)


def test_that_p_is_too_small_is_said_where_an_infant_has_several_pictures():
    blocks = accuracy_blocks(FOUR, {"other": THREE}, "test")
    assert "McNemar" not in str(report_page("", [Section("", blocks[2:])]))  # beside the table's head
    twice = replace(FOUR, subject=np.array(["a", "a", "b", "c"]))
    assert mcnemar_caution(twice.accuracy).startswith(
        "McNemar's test counts the 4 pictures as independent, but they are of 3 infants: p is too small."
    )
    assert mcnemar_caution(twice.accuracy) in [
        getattr(each, "words", "") for each in accuracy_blocks(twice, {"other": THREE}, "test")
    ]
    assert len(accuracy_blocks(twice, {}, "test")) == len(blocks)  # no p, no caution


def test_learning_by_heart_is_said():
    found = verdict_of_run([epoch(1, 0.5, 0.5, 1.0), epoch(2, 0.9, 0.7, 0.8), epoch(3, 1.0, 0.7, 0.9)])
    assert "At the kept epoch (2) 90 % of train and 70 % of dev pictures are right, a gap of 20 points." in found
    assert "much better than new ones. The dev loss turned upwards at epoch 3." in found
    sound = verdict_of_run([epoch(1, 0.8, 0.78, 0.6), epoch(2, 0.85, 0.84, 0.62)])
    assert "carries over" in sound
    assert "upwards" not in sound
    assert "not yet learned" in verdict_of_run([epoch(1, 0.4, 0.4, 1.1)])


def test_the_verdict_is_on_the_epoch_that_was_kept():
    epochs = [epoch(1, 0.8, 0.78, 0.6), epoch(2, 1.0, 0.5, 0.7)]
    assert "the kept epoch (1) 80 % of train and 78 % of dev" in verdict_of_run(epochs, "best")
    last = verdict_of_run(epochs, "last")
    assert "the kept epoch (2) 100 % of train and 50 % of dev" in last
    assert "much better than new ones" in last


def fold(epochs: list[Epoch], right: int) -> Fold:
    """A fold with these epochs, whose model reads `right` of 10 held-out pictures right."""
    history = [
        {"epoch": each.epoch, f"eval_{split}_loss": loss, f"eval_{split}_accuracy": accuracy}
        for each in epochs
        for split, loss, accuracy in (
            ("train", each.train_loss, each.train_accuracy),
            ("dev", each.dev_loss, each.dev_accuracy),
        )
    ]
    return Fold(history, Proportion(right, 10))


def test_folds_are_judged_by_the_pictures_that_chose_no_epoch():
    """On dev both folds look sound at their kept epochs, the second and the first: gaps of 0.05 and 0.1."""
    first = fold([epoch(1, 0.7, 0.7, 0.8), epoch(2, 0.9, 0.85, 0.6), epoch(3, 1.0, 0.8, 0.9)], right=6)
    second = fold([epoch(1, 0.8, 0.7, 0.6), epoch(2, 1.0, 0.6, 0.61)], right=5)
    verdict = verdict_of_folds([first, second])
    assert "the 2 folds kept, 85 % of train pictures are right and 55 % of the fold's held-out pictures" in verdict
    assert "a gap of 30 points, 30 to 30 over the folds" in verdict
    assert "much better than new ones. The dev loss turned upwards in 1 of 2 folds." in verdict
    assert "100 % of train pictures" in verdict_of_folds([first, second], keep="last")
    assert "carries over" in verdict_of_folds([fold([epoch(1, 0.8, 0.7, 0.6)], right=8)])


def test_a_mean_curve_goes_as_far_as_all_runs_do():
    runs = [[epoch(1, 0.5, 0.4, 1.0), epoch(2, 0.7, 0.6, 0.8)], [epoch(1, 0.7, 0.6, 0.5)]]
    (mean,) = mean_curve(runs)
    assert asdict(mean) == pytest.approx(asdict(epoch(1, 0.6, 0.5, 0.75)))
    assert mean_curve([]) == []


EMOTION_TRIPLE = ("happy", "sad", "angry")


def test_a_vote_by_class_trusts_each_model_where_it_is_good():
    """The first knows the happy faces and calls the rest angry; the second knows the sad ones and calls the rest angry."""
    truth = [0, 0, 1, 1, 2, 2]
    first = answers([[0.6, 0.2, 0.2]] * 2 + [[0.2, 0.2, 0.6]] * 4, truth, EMOTION_TRIPLE)
    second = answers([[0.2, 0.2, 0.6]] * 2 + [[0.2, 0.6, 0.2]] * 2 + [[0.2, 0.2, 0.6]] * 2, truth, EMOTION_TRIPLE)
    weights = class_weights([first, second])
    np.testing.assert_allclose(weights, [[1, 0, 2 / 3], [0, 1, 2 / 3]])
    voted = ensemble([first, second], weights)
    assert voted.accuracy.value == 1
    np.testing.assert_allclose(voted.probabilities[2], np.array([0.2, 0.6, 0.8 * 2 / 3]) / (0.8 + 0.8 * 2 / 3))


def test_a_class_that_no_model_names_weighs_alike():
    wrong = answers([[1, 0]] * 2, [1, 1], ["happy", "sad"])
    assert class_weights([wrong, wrong])[:, 1].tolist() == [1, 1]


def test_25_pictures_tell_little():
    random = np.random.default_rng(0)
    truth = np.arange(600) % 3
    right = random.random(600) < 0.8
    measured = answers(np.eye(3)[np.where(right, truth, (truth + 1) % 3)], truth)
    spread = thesis_spread(measured, draws=20)
    assert (spread.splits, spread.test_pictures) == (20, 25)
    assert abs(spread.mean - right.mean()) < 0.06
    assert 0.04 < spread.deviation < 0.13  # binomial: 0.08
    keys = ["splits", "test pictures", "mean", "standard deviation", "lowest", "highest"]
    assert list(spread.to_dict()) == keys  # of metrics.json and of `evaluate --json`
    assert thesis_spread(measured.rows(np.arange(600) < 149)) is None
    two_infants = replace(measured, subject=np.arange(600) % 2)  # three splits cannot keep two infants whole
    assert thesis_spread(two_infants) is None


def test_the_epochs_of_both_steps_come_from_the_history():
    def logged(split, number, step):
        scores_ = {f"eval_{split}_loss": 0.5, f"eval_{split}_accuracy": 0.75}
        return {"epoch": number, "step_of_two": step, **scores_}

    history = [
        logged(split, number, step) for step in ("head", "whole") for number in (1.0, 2.0) for split in ("dev", "train")
    ]
    history += [{"epoch": 2.0, "loss": 0.1, "step_of_two": "whole"}]
    both = [Epoch(1.0, 0.5, 0.75, 0.5, 0.75), Epoch(2.0, 0.5, 0.75, 0.5, 0.75)]
    assert steps_of(history) == {"head": both, "whole": both}
    assert steps_of(history[-1:]) == {}


def test_every_plot_is_a_picture():
    shares = {name: FOUR.accuracy for name in ("one", "two")}
    counts = {"train": dict.fromkeys(AFFECTS, 3), "dev": dict.fromkeys(AFFECTS, 1), "test": dict.fromkeys(AFFECTS, 0)}
    drawn = [
        plots.confusion_matrix(FOUR),
        plots.reliability_diagram(FOUR),
        plots.accuracy_bars(shares),
        plots.learning_curves([epoch(1, 0.5, 0.5, 1.0), epoch(2, 0.9, 0.7, 0.8)]),
        plots.learning_curves([epoch(1, 0.5, 0.5, 1.0)], [[epoch(1, 0.4, 0.4, 1.0), epoch(2, 0.9, 0.7, 0.8)]]),
        plots.class_counts(counts),
        plots.pixel_values(np.random.default_rng(0).normal(size=(4, 3, 8, 8))),
        plots.size_curve({50: FOUR.accuracy, 100: FOUR.accuracy}),
    ]
    for png in drawn:
        picture = Image.open(BytesIO(png))
        assert picture.format == "PNG"
        assert min(picture.size) > 150
        assert len(np.unique(np.asarray(picture.convert("L")))) > 10


def test_a_checkpoint_of_emotions_is_measured_in_affects(tmp_path):
    from infant_fer.evaluation.comparison import in_classes_of

    seven = answers(
        [[0.1, 0.2, 0.3, 0.1, 0.1, 0.1, 0.1]], [0], ["angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"]
    )
    images = type("Images", (), {"labels": AFFECTS, "__len__": lambda self: 1})()
    np.testing.assert_allclose(in_classes_of(images, seven).probabilities, [[0.1, 0.2, 0.7]])


def test_repeats_of_a_cross_validation_are_scored_singly():
    """Three repeats with 2, 2 and 2 of 3 right, each wrong about another image; their mean would be right about all."""
    right, wrong = [0.6, 0.4], [0.45, 0.55]
    repeats = [answers([wrong if n == m else right for n in range(3)], [0] * 3, AFFECTS[:2]) for m in range(3)]
    assert ensemble(repeats).accuracy.value == 1
    found = RepeatedPredictions(tuple(repeats)).accuracy
    assert found.value == pytest.approx(2 / 3)
    assert found.deviation == pytest.approx(0)
    assert found.n == 3
    uneven = RepeatedPredictions((*repeats[:2], answers([right] * 3, [0] * 3, AFFECTS[:2])))
    assert uneven.accuracy.deviation == pytest.approx(np.std([2 / 3, 2 / 3, 1], ddof=1))
    plain = repeated_scores(uneven).to_dict()
    assert list(plain) == ["accuracy", "repeats", "spread over thesis splits"]
    assert plain["spread over thesis splits"] is None  # too few pictures
    assert plain["accuracy"]["per repeat"] == pytest.approx([2 / 3, 2 / 3, 1])
    assert [each["accuracy"]["right"] for each in plain["repeats"]] == [2, 2, 3]
    json.dumps(plain, allow_nan=False)


def test_the_interval_of_repeats_counts_infants():
    """20 images of two infants, one of which is always misread: nearly nothing is known."""
    half = answers([[0.9, 0.1]] * 20, [0] * 10 + [1] * 10, AFFECTS[:2], subject=["a"] * 10 + ["b"] * 10)
    assert RepeatedPredictions((half, half)).accuracy.interval == (0, 1)
    assert half.accuracy.interval == (0, 1)
    assert scores(half).to_dict()["accuracy"]["infants"] == 2
