"""Cross-validation: each repeat covers every image once, and repeats are not averaged."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from infant_fer.evaluation.predictions import Predictions
from infant_fer.training import experiment
from infant_fer.training.cross_validation import cross_validate
from tests.drawn_data import face_dataset, unlabelled


def test_every_repeat_predicts_every_image_once_with_the_model_of_its_fold():
    truth = np.arange(6) % 3
    target = np.eye(3, dtype=np.float32)[truth]
    images = replace(unlabelled([f"{number}.png" for number in range(6)]), truth=truth, target=target)
    splits = [np.where(np.arange(6) // 3 == number, "test", "train") for number in (0, 1, 1, 0)]

    def predict(model: int, held_out: np.ndarray) -> Predictions:
        """Models 0 to 2 are right, model 3 is wrong about all its rows."""
        rows = images.rows(held_out)
        right = np.eye(3)[rows.truth]
        return Predictions.of(rows, np.roll(right, 1, axis=1) if model == 3 else right)

    def cross_validated(keep_models: bool):
        return cross_validate(
            images, splits, lambda number, _: (number, [{"epoch": number}]), predict, lambda _: None, keep_models
        )

    found = cross_validated(keep_models=False)
    assert [each.accuracy.right for each in found.predictions.repeats] == [6, 3]
    assert found.predictions.accuracy.value == 0.75  # the mean of both repeats' probabilities would be right about more
    assert found.models == (0,)
    assert [each.held_out.right for each in found.folds] == [3, 3, 3, 0]
    assert [each.history[0]["epoch"] for each in found.folds] == [0, 1, 2, 3]
    assert cross_validated(keep_models=True).models == (0, 1, 2, 3)


@pytest.mark.parametrize("found", [[True] * 6, [True, False, True, True, False, True], [False] * 6])
def test_trust_data_of_averaged_folds_are_of_faces_that_were_found(found, monkeypatch):
    crops, found = np.zeros((6, 8, 8, 3), np.uint8), np.array(found)
    faces = replace(face_dataset(crops, np.zeros((6, 4)), np.eye(3)[np.arange(6) % 3]), found=found)
    probabilities, said = np.random.default_rng(0).dirichlet(np.ones(3), 6), []
    repeats = SimpleNamespace(repeats=[SimpleNamespace(probabilities=probabilities)])
    monkeypatch.setattr(experiment, "fit_trust_of_folds", lambda model, rows, values: (len(rows), values))
    base = SimpleNamespace(model=None)
    trust = experiment._trust_of_folds(base, faces, SimpleNamespace(predictions=repeats), said.append)
    if found.any():
        assert trust[0] == found.sum()
        np.testing.assert_array_equal(trust[1], probabilities[found])
    else:
        assert trust is None
        assert "no trust data" in said[0]
