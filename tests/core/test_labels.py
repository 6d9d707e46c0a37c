"""Label names as they occur in checkpoints, and their sums."""

import pytest

from infant_fer.errors import CheckpointError
from infant_fer.labels import affect_of_labels, canonical_label, is_emotions, sum_to_affect


@pytest.mark.parametrize(
    ("found", "expected"),
    [("Happiness", "happy"), (" ANGER ", "angry"), ("Neu", "neutral"), ("fear", "fear"), ("crying", "cry")],
)
def test_spellings_become_one_word(found, expected):
    assert canonical_label(found) == expected


def test_three_affects_in_any_order_are_no_emotions():
    assert affect_of_labels(["neg", "Positive", "neutral"]) == ("negative", "positive", "neutral")
    assert not is_emotions(["neg", "Positive", "neutral"])


def test_eight_emotions_map_to_affects():
    names = ["anger", "contempt", "disgust", "fear", "happy", "neutral", "sad", "surprise"]
    assert affect_of_labels(names) == ("negative",) * 4 + ("positive", "neutral", "negative", "neutral")
    assert is_emotions(names)


@pytest.mark.parametrize("names", [["LABEL_0", "LABEL_1", "LABEL_2"], ["cat", "dog"], []])
def test_other_labels_are_refused(names):
    with pytest.raises(CheckpointError):
        affect_of_labels(names)


def test_a_class_without_labels_is_named():
    with pytest.raises(CheckpointError, match="no neutral"):
        affect_of_labels(["happy", "sad"])


def test_sums_keep_the_total():
    totals = sum_to_affect({"happy": 0.5, "neutral": 0.1, "surprise": 0.1, "sad": 0.2, "fear": 0.1})
    assert totals == pytest.approx({"positive": 0.5, "neutral": 0.2, "negative": 0.3})
