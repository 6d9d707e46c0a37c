"""The rendered twin: movements and pose of a face, and the smallest change of a made-up model whose answer is known."""

import numpy as np
import pytest

from infant_fer.face import Face, HeadPose
from infant_fer.synthetic.lab import MAIN, MOVEMENTS, STRONGEST, LabSettings
from infant_fer.synthetic.twin import HALVINGS, changes, twin_of

BLENDSHAPES = {"mouthSmileLeft": 0.6, "mouthSmileRight": 0.8, "jawOpen": 0.3, "browInnerUp": 0.2, "cheekPuff": 0.9}


def test_the_twin_has_the_faces_movements_and_pose_and_keeps_the_rest():
    face = Face(np.zeros((478, 2), np.float32), BLENDSHAPES, HeadPose(yaw=20.4, pitch=10.0, roll=45.0))
    twin = twin_of(face, LabSettings({}, seed=7, tone=0.5))
    assert twin.actions["mouthSmile"] == pytest.approx(0.7)
    assert (twin.actions["jawOpen"], twin.actions["browInnerUp"], twin.actions["mouthFrown"]) == (0.3, 0.2, 0.0)
    assert set(twin.actions) == {each.name for each in MOVEMENTS}
    assert (twin.yaw, twin.pitch, twin.seed, twin.tone) == (20, -10, 7, 0.5)
    turned = Face(face.landmarks_px, BLENDSHAPES, HeadPose(yaw=-85.0, pitch=0.0, roll=0.0))
    assert twin_of(turned, LabSettings({})).yaw == -60


def weights(settings: LabSettings) -> np.ndarray:
    """Stand for a picture: the weights of the movements."""
    return np.array([settings.actions.get(each.name, 0.0) for each in MOVEMENTS])


def smile_model(picture: np.ndarray) -> dict[str, float]:
    """Answer positive from a smile of 0.5 on, and negative when the brows are knitted above 0.9."""
    smile, brows = picture[0], picture[[each.name for each in MOVEMENTS].index("browDown")]
    return {"positive": smile - 0.5, "neutral": 0.0, "negative": brows - 0.9}


def test_the_smallest_flipping_change_is_found():
    start = LabSettings({"mouthSmile": 0.7, "browDown": 0.2})
    *_, (tried, best) = changes(start, smile_model, weights)
    assert tried == MAIN
    assert (best.movement.name, best.was, best.becomes) == ("mouthSmile", "positive", "neutral")
    assert 0.5 - 0.7 / 2**HALVINGS <= best.after <= 0.5
    assert "“Smile” (AU12)" in best.sentence
    assert "weaker" in best.sentence
    assert "the expression of this rendered infant would look neutral instead of positive" in best.sentence


def test_no_change_and_no_face_are_said():
    assert [best for _, best in changes(LabSettings({}), lambda _: {"positive": 1.0}, weights)] == [None] * MAIN
    assert list(changes(LabSettings({}), lambda _: None, weights)) == []  # no face, and so no answer that could change
    assert STRONGEST > 1
