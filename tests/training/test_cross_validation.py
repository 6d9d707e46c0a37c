"""Cross-validation: each repeat covers every image once, and repeats are not averaged."""

import numpy as np

from infant_fer.data.labeled_images import LabeledImages
from infant_fer.evaluation.predictions import Predictions
from infant_fer.labels import AFFECTS
from infant_fer.training.experiment import cross_validate


def six_images() -> LabeledImages:
    truth = np.arange(6) % 3
    names = tuple(f"{number}.png" for number in range(6))
    return LabeledImages(
        archives=(None,) * 6,
        members=names,
        labels=AFFECTS,
        truth=truth,
        target=np.eye(3, dtype=np.float32)[truth],
        subject=np.array(names),
        split=np.full(6, ""),
        subgroups={},
    )


def test_every_repeat_predicts_every_image_once_with_the_model_of_its_fold():
    images = six_images()
    splits = [np.where(np.arange(6) // 3 == number, "test", "train") for number in (0, 1, 1, 0)]

    def predict(model: int, held_out: np.ndarray) -> Predictions:
        """Models 0 to 2 are right, model 3 is wrong about all its rows."""
        rows = images.rows(held_out)
        right = np.eye(3)[rows.truth]
        return Predictions.of(rows, np.roll(right, 1, axis=1) if model == 3 else right)

    def cross_validated(keep_models: bool):
        return cross_validate(images, splits, lambda number, _: number, predict, lambda _: None, keep_models)

    found = cross_validated(keep_models=False)
    assert [each.accuracy.right for each in found.predictions.repeats] == [6, 3]
    assert found.predictions.accuracy.value == 0.75  # the mean of both repeats' probabilities would be right about more
    assert found.models == (0,)
    assert cross_validated(keep_models=True).models == (0, 1, 2, 3)
