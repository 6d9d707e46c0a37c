"""Deletion, insertion and covering on models whose answer is known, and quantus as the reference on one picture."""

import numpy as np
import pytest
import torch

from infant_fer.analyzer import ExplanationSettings
from infant_fer.explain import METHODS
from infant_fer.explain.covering import (
    FACE_PARTS,
    FILLS,
    PartDrops,
    filled,
    part_drops,
    part_masks,
    rank_correlation,
    skin_colour,
)
from infant_fer.explain.faithfulness import CELLS, STEPS, Curve, cell_order, edge_map, faithfulness
from infant_fer.labels import AFFECTS
from infant_fer.regions import PARTS, part_map
from tests.conftest import EXAMPLES

SIZE = 96


def picture(seed: int = 0) -> np.ndarray:
    """Return a smooth (96, 96, 3) uint8 crop."""
    coarse = np.random.default_rng(seed).integers(40, 216, (6, 6, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((16, 16, 1), np.uint8))


def strips() -> np.ndarray:
    """Return a part map of seven strips of the crop, from left to right, in the order of PARTS."""
    return np.tile(np.minimum(np.arange(SIZE) // 13, 6), (SIZE, 1)).astype(np.uint8)


def reads(part: str, parts: np.ndarray, crop_rgb: np.ndarray):
    """Return an answer that is 1 minus the share of one part's pixels that have changed."""
    place = parts == PARTS.index(part)

    def answer(crops: np.ndarray) -> np.ndarray:
        changed = (np.abs(crops[:, place].astype(int) - crop_rgb[place]).max(2) > 1).mean(1)
        return 1 - changed

    return answer


def test_the_map_of_a_class_that_the_face_is_not_read_as_is_not_called_false():
    """A class at 5 % has nothing that hiding could lower; the area is the same for every order."""
    crop_rgb, values = picture(), np.linspace(0, 1, SIZE * SIZE).reshape(SIZE, SIZE)

    def answer(share: float):
        return lambda crops: np.full(len(crops), share)

    improbable = faithfulness(values, crop_rgb, answer(0.05), "neutral")
    assert not improbable.can_be_tested
    assert "'neutral' has too little probability here for hiding" in str(improbable.sentence())
    assert "no better than a random one" not in str(improbable.sentence())
    probable = faithfulness(values, crop_rgb, answer(0.9), "neutral")
    assert probable.can_be_tested
    assert "no better than a random one" in str(probable.sentence())


def test_deletion_and_insertion_areas_by_hand():
    """The answer is the share of the upper half that is unchanged; a map that marks it, one that does not."""
    crop_rgb = np.zeros((SIZE, SIZE, 3), np.uint8)
    crop_rgb[::2] = 255  # covered with the mean, every pixel changes
    values = np.zeros((SIZE, SIZE))
    values[: SIZE // 2] = 1

    def answer(crops):
        return 1 - (crops[:, : SIZE // 2] != crop_rgb[: SIZE // 2]).all(3).mean((1, 2))

    right = faithfulness(values, crop_rgb, answer, "positive", "mean")
    wrong = faithfulness(1 - values, crop_rgb, answer, "positive", "mean")
    assert right.deletion.area == pytest.approx(0.25, abs=0.005)  # falls to 0 while the first half is hidden
    assert right.insertion.area == pytest.approx(0.75, abs=0.005)
    assert wrong.deletion.area == pytest.approx(0.75, abs=0.005)
    assert right.random_deletion.area == pytest.approx(0.5, abs=0.02)
    assert right.margin == pytest.approx(0.5, abs=0.03)
    assert right.better_than_random
    assert not wrong.better_than_random
    assert "changes 'positive' from 100 to 80 %" in right.sentence()
    assert wrong.sentence().endswith("This map is no better than a random one.")
    assert len(right.deletion.shares) == STEPS + 1
    assert set(right.to_dict()) == {"deletion_auc", "insertion_auc", "random_deletion_auc", "edge_deletion_auc"}


def test_a_map_that_marks_nothing_is_neither_tested_nor_better_than_random():
    """Its cells are all alike, and the first ones are those at the top, which this answer reads."""
    crop_rgb = picture()

    def answer(crops):
        return 1 - (crops[:, : SIZE // 3] != crop_rgb[: SIZE // 3]).any(3).mean((1, 2))

    for values in (np.zeros((SIZE, SIZE)), np.ones((SIZE, SIZE))):
        found = faithfulness(values, crop_rgb, answer, "positive", "mean")
        assert found.deletion.area < found.random_deletion.area
        assert (found.marks, found.can_be_tested, found.better_than_random) == (False, False, False)
        assert found.sentence() == "This map marks nothing, so that there is nothing to hide first."


def test_all_crops_are_asked_for_at_once_and_the_seed_decides():
    calls = []

    def answer(crops):
        calls.append(len(crops))
        return crops.mean((1, 2, 3)) / 255

    values = np.random.default_rng(1).random((SIZE, SIZE))
    first, again, other = (faithfulness(values, picture(), answer, "neutral", seed=seed) for seed in (1, 1, 2))
    assert calls == [2 + 4 * (STEPS - 1)] * 3
    assert first.to_dict() == again.to_dict()
    assert not np.array_equal(first.random_deletion.answers, other.random_deletion.answers)


@pytest.mark.slow
def test_the_deletion_curve_is_that_of_quantus():
    quantus = pytest.importorskip("quantus", reason="quantus is not installed: the cross-check is not run.")
    crop_rgb = np.repeat(picture()[..., :1], 3, axis=2)
    values = np.kron(np.random.default_rng(3).permutation(CELLS**2).reshape(CELLS, CELLS), np.ones((6, 6))) + 1
    mean = float(np.round(crop_rgb.mean()))
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(SIZE**2, 3)).eval()  # grey, one channel

    def answer(crops):
        pixels = torch.from_numpy(crops[..., :1]).permute(0, 3, 1, 2).float() / 255
        return network(pixels).softmax(1)[:, 1].detach().numpy()

    own = faithfulness(values, crop_rgb, answer, "neutral", "mean").deletion
    metric = quantus.PixelFlipping(
        features_in_step=36, perturb_baseline=mean / 255, normalise=False, disable_warnings=True
    )
    pixels = crop_rgb[None, None, ..., 0].astype(np.float32) / 255
    scores = metric(model=network, x_batch=pixels, y_batch=np.array([1]), a_batch=values[None, None], softmax=True)[0]
    steps = [round(share * CELLS**2) for share in own.shares[1:]]
    np.testing.assert_allclose(own.answers[1:], [scores[step - 1] for step in steps], atol=2e-3)


def test_a_model_that_reads_only_the_mouth_ranks_the_mouth_first():
    crop_rgb, parts = picture(), strips()
    answer = reads("mouth", parts, crop_rgb)
    drops = part_drops(crop_rgb, parts, answer, "positive", "mean")
    assert next(iter(drops.drops)) == "mouth"
    assert drops.before == 1
    assert drops.covered["mouth"] < 0.2
    assert drops.covered["eyes"] > 0.95
    assert set(drops.covered) == set(FACE_PARTS)
    marks_mouth = (parts == PARTS.index("mouth")).astype(float)
    marks_eyes = (parts == PARTS.index("eyes")).astype(float)
    areas = [
        faithfulness(values, crop_rgb, answer, "positive", "mean").deletion.area for values in (marks_mouth, marks_eyes)
    ]
    assert areas[0] < 0.5 * areas[1]


def test_part_drops_in_words_and_ranks():
    drops = PartDrops("positive", 0.91, {"mouth": 0.34, "eyes": 0.9, "nose": 0.95}, "blur")
    assert drops.sentence("mouth") == "Covering the mouth: positive 91 → 34 %."
    assert list(drops.drops) == ["mouth", "eyes", "nose"]
    assert drops.drops["nose"] == pytest.approx(-0.04)
    assert drops.rank_correlation({"mouth": 3.0, "eyes": 2.0, "nose": 1.0, "outside": 9.0}) == pytest.approx(1)
    assert drops.rank_correlation({"mouth": 1.0, "eyes": 2.0, "nose": 3.0}) == pytest.approx(-1)
    assert drops.rank_correlation({"mouth": 1.0, "eyes": 1.0, "nose": 1.0}) is None
    assert rank_correlation([1, 2], [1, 2]) is None


@pytest.mark.parametrize("fill", FILLS)
def test_only_the_hidden_pixels_change(fill):
    crop_rgb, before = picture(), picture()
    masks = np.zeros((3, SIZE, SIZE), bool)
    masks[0, 20:50, 30:60], masks[2] = True, True
    covered = filled(crop_rgb, masks, fill, (200, 150, 120))
    assert covered.dtype == np.uint8
    assert (covered[:, ~masks[0]][0] == crop_rgb[~masks[0]]).all()
    assert (covered[1] == crop_rgb).all()
    assert np.abs(covered[0][masks[0]].astype(int) - crop_rgb[masks[0]]).mean() > 5
    assert (crop_rgb == before).all()
    np.testing.assert_array_equal(covered, filled(crop_rgb, masks, fill, (200, 150, 120)))


def test_neighbours_carry_on_a_gradient_of_light_and_leave_no_hole():
    ramp = np.repeat(np.linspace(20, 230, SIZE)[None, :, None], SIZE, axis=0).repeat(3, axis=2).astype(np.uint8)
    mask = np.zeros((1, SIZE, SIZE), bool)
    mask[0, 36:60, 36:60] = True
    hidden = filled(ramp, mask, "neighbours")[0].astype(float)
    assert np.abs(hidden - ramp)[mask[0]].mean() < 12  # the mean colour would be off by about 15, grey holes by more
    assert np.corrcoef(hidden[48, 36:60, 0], ramp[48, 36:60, 0])[0, 1] > 0.8


def test_skin_is_the_cheeks_median_and_unknown_fillings_are_refused():
    crop_rgb, parts = picture(), strips()
    crop_rgb[parts == PARTS.index("cheeks")] = (200, 150, 120)
    assert skin_colour(crop_rgb, parts).tolist() == [200, 150, 120]
    for fill in ("black", "skin"):
        with pytest.raises(ValueError, match="fill must be one of"):
            filled(crop_rgb, np.ones((1, SIZE, SIZE), bool), fill)


def test_masks_reach_beyond_the_outline():
    mask = part_masks(strips(), ("eyes",))[0]
    assert np.flatnonzero(mask[40]).tolist() == list(range(13 - 2, 26 + 2))


def test_cells_are_ranked_by_their_mean():
    values = np.zeros((SIZE, SIZE))
    values[6:12, 12:18], values[90:, 90:] = 2, 1
    assert cell_order(values)[:2].tolist() == [CELLS + 2, CELLS**2 - 1]
    assert sorted(cell_order(values)) == list(range(CELLS**2))


def test_edges_are_where_the_light_changes():
    crop_rgb = np.zeros((SIZE, SIZE, 3), np.uint8)
    crop_rgb[:, 50:] = 255
    assert set(np.unique(np.nonzero(edge_map(crop_rgb))[1])) == {49, 50}


def test_a_curves_area_and_values_by_hand():
    curve = Curve(np.array([0, 0.5, 1]), np.array([1.0, 0.5, 0.0]))
    assert curve.area == pytest.approx(0.5)
    assert curve.at(0.1) == pytest.approx(0.9)


@pytest.mark.slow
@pytest.mark.parametrize("example", ["smile", "cry"])
def test_maps_of_the_embedded_checkpoint_are_better_than_random_and_the_mouth_counts_most(analyzer, example):
    report = analyzer.analyze(EXAMPLES / f"{example}.jpg")
    face = report.faces[0]
    label, crop_rgb = face.prediction.label, face.aligned.crop_rgb
    column = AFFECTS.index(label)

    def answer(crops):
        return analyzer.classifier.image_probabilities(crops)[:, column]

    parts = part_map(face.aligned.to_crop(face.face.landmarks_px), len(crop_rgb))
    assert next(iter(part_drops(crop_rgb, parts, answer, label).drops)) == "mouth"
    measured = None  # of the first map, whose random and edge curves are those of the others
    for method in ("smoothgrad", "gradcam", "occlusion"):
        assert method in METHODS
        explained = analyzer.explain(report, settings=ExplanationSettings(method, samples=20)).faces[0].explanation
        measured = faithfulness(explained.saliency.values, crop_rgb, answer, label, known=measured)
        if method == "gradcam":  # its grid is 3 x 3 cells in one of the networks
            assert measured.margin > 0
        else:
            assert measured.margin > 0.25
            assert measured.insertion.area > measured.deletion.area


def test_image_probabilities_are_the_predictions_without_landmarks(analyzer):
    face = analyzer.analyze(EXAMPLES / "smile.jpg").faces[0]
    found = analyzer.classifier.image_probabilities(np.stack([face.aligned.crop_rgb] * 2))
    expected = analyzer.classifier.predict(face.aligned).probabilities
    np.testing.assert_allclose(found, [[expected[affect] for affect in AFFECTS]] * 2, atol=1e-6)
