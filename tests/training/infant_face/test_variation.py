"""Hard light, turned heads and covered mouths in training: what changes, what stays, and what the targets become."""

import numpy as np
import pytest
import torch

from infant_fer.alignment import CropSpec
from infant_fer.labels import ACTION_UNITS
from infant_fer.training.infant_face.config import FinetuningConfig
from infant_fer.training.infant_face.data import FaceBatch
from infant_fer.training.infant_face.variation import Cutouts, hidden_share, lit, turned, varied, with_covered_mouths
from infant_fer.training.rendered import COVERS, RenderedFaces, action_units
from infant_fer.training.rendered import _anchors_px as anchors_px
from tests.drawn_data import face_dataset

SIDE = 96


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def lower_half() -> np.ndarray:
    """Return a mask that hides everything below the middle of the crop, the mouth included."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[SIDE // 2 :] = 255
    return mask


def rendered(masks: list[np.ndarray]) -> RenderedFaces:
    count = len(masks)
    luminance = np.full((count, SIDE, SIDE), 100, np.uint8)
    return RenderedFaces(luminance, np.stack(masks), np.zeros((count, len(ACTION_UNITS)), np.float32), np.arange(count))


def batch(count: int = 6) -> FaceBatch:
    faces = face_dataset(
        np.full((count, SIDE, SIDE, 3), 150, np.uint8),
        np.zeros((count, 4)),
        np.eye(3)[[0] * count],
        emotion=np.eye(7)[[0] * count],
        valence_arousal=np.ones((count, 2)),
        usable=np.ones(count),
        mouth_covered=np.array([0.0] * (count - 2) + [np.nan] * 2),
    )
    return FaceBatch.of(faces)


def test_only_what_hides_the_mouth_is_a_cover():
    assert hidden_share(torch.ones(1, SIDE, SIDE)).item() == pytest.approx(1)
    assert hidden_share(torch.from_numpy(lower_half()[::-1].copy())[None] / 255).item() == 0
    chin = np.zeros((SIDE, SIDE), np.uint8)
    chin[SIDE - 12 :] = 255
    assert len(Cutouts.of(rendered([lower_half(), chin, lower_half()[::-1].copy()]))) == 1


def test_a_covered_mouth_is_said_and_half_of_the_certainty_goes():
    faces = batch()
    covered = with_covered_mouths(faces, Cutouts.of(rendered([lower_half()])), 1.0)
    assert covered.mouth_covered[:4].tolist() == [1] * 4
    assert covered.mouth_covered[4:].isnan().all()  # FER2013's rows say nothing of the mouth and are left alone
    torch.testing.assert_close(covered.affect[0], torch.tensor([2 / 3, 1 / 6, 1 / 6]))
    assert covered.affect[4].tolist() == [1, 0, 0]
    assert covered.valence_arousal[:4].isnan().all()
    assert covered.votes.sum() == 0  # what was not known stays unknown
    assert (covered.luminance[:4, : SIDE // 2] == 150).all()
    assert (covered.luminance[:4, SIDE // 2 :] != 150).all()
    assert (covered.luminance[4:] == 150).all()
    untouched = with_covered_mouths(faces, Cutouts.of(rendered([lower_half()])), 0.0)
    assert torch.equal(untouched.luminance, faces.luminance.float())


def test_nothing_changes_where_the_settings_ask_for_nothing():
    faces = batch()
    torch.testing.assert_close(varied(faces, FinetuningConfig(), None).luminance, faces.luminance.float())


def test_light_darkens_a_share_and_keeps_what_the_face_shows():
    pattern = torch.rand(64, 1, 12, 12).repeat_interleave(8, 2).repeat_interleave(8, 3) * 0.5 + 0.4
    changed = lit(pattern, 1.0)
    assert ((changed >= 0) & (changed <= 1)).all()
    assert (changed.mean((1, 2, 3)) < pattern.mean((1, 2, 3)) + 1e-3).float().mean() > 0.8
    centre = (slice(None), slice(None), slice(36, 60), slice(36, 60))
    pairs = zip(pattern[centre].flatten(1), changed[centre].flatten(1), strict=True)
    alike = [torch.corrcoef(torch.stack(pair))[0, 1] for pair in pairs]
    assert min(alike) > 0.5
    assert np.median(alike) > 0.9
    assert torch.equal(lit(pattern, 0.0), pattern)
    share = (lit(pattern, 0.5) != pattern).flatten(1).any(1).float().mean()
    assert 0.25 < share < 0.75


def test_a_turn_leaves_eyes_and_mouth_near_their_places_and_moves_the_nose_sideways():
    anchors = CropSpec(SIDE).anchors_px
    pictures = torch.zeros(40, 1, SIDE, SIDE)
    for x, y in anchors.round().astype(int):
        pictures[:, :, y - 1 : y + 2, x - 1 : x + 2] = 1
    moved = turned(pictures, 1.0)
    for x, y in anchors.round().astype(int):
        around = moved[:, :, y - 14 : y + 15, max(0, x - 14) : x + 15]
        assert (around.amax((1, 2, 3)) > 0.3).all()
    nose = torch.zeros(40, 1, SIDE, SIDE)
    nose[:, :, 52:56, 46:50] = 1
    columns = torch.arange(SIDE).float()
    at = [(row[0].sum(0) * columns).sum() / row.sum() for row in turned(nose, 1.0)]
    assert max(at) - min(at) > 4  # to both sides
    assert torch.equal(turned(pictures, 0.0).round(), pictures)


def test_action_units_take_the_stronger_side_and_part_the_lips():
    units = dict(
        zip(ACTION_UNITS, action_units({"mouthSmileLeft": 0.4, "mouthSmileRight": 0.9, "jawOpen": 0.2}), strict=True)
    )
    assert units["AU12"] == pytest.approx(0.9)
    assert units["AU25"] == pytest.approx(0.6)
    assert units["AU26"] == pytest.approx(0.2)
    assert units["AU4"] == 0
    assert action_units({"jawOpen": 1.4}).max() == 1
    assert "pacifier" in COVERS


def test_the_anchors_of_a_render_are_those_of_a_face():
    names = [
        f"{side} {part}"
        for side in ("right", "left")
        for part in ("eye outer corner", "eye inner corner", "mouth corner")
    ]
    landmarks = dict(zip(names, [(10, 20), (20, 20), (22, 50), (60, 22), (50, 22), (48, 50)], strict=True))
    np.testing.assert_allclose(anchors_px(landmarks), [[15, 20], [55, 22], [35, 50]])
