"""What many faces have in common: triangles by hand, mean faces, two alignments, emotions on the plane."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from infant_fer.alignment import CropSpec
from infant_fer.checkpoints.loading import load_checkpoint
from infant_fer.data.datasets import read_labeled_images
from infant_fer.deformation import FaceTriangles, aligned_points
from infant_fer.errors import DatasetError
from infant_fer.evaluation import faces as faces_command
from infant_fer.evaluation.faces import alignment_spread, emotion_plane, main, mean_faces
from infant_fer.evaluation.triangles import draw_triangles, neutral_face, triangle_predictions, typical_differences
from infant_fer.face import LANDMARK_COUNT, LEFT_IRIS, MOUTH_CORNERS, RIGHT_IRIS, anchors
from infant_fer.labels import AFFECTS, EMOTIONS
from infant_fer.models.geometry import GEOMETRY_SIZE, POINTS
from tests.drawn_data import EXAMPLES, drawn_face, face_dataset
from tests.tiny_checkpoints import save_tiny

SQUARE = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])


def faces(count: int, shift: float = 0.2):
    """Faces whose mouth corners are higher (positive) or lower (negative) by `shift` of the face, with a little noise."""
    random = np.random.default_rng(0)
    template = random.uniform(0, 100, (LANDMARK_COUNT, 2))
    classes = np.arange(count) % 3
    landmarks = template + random.normal(0, 0.3, (count, LANDMARK_COUNT, 2))
    landmarks[:, POINTS[-1], 1] -= 100 * shift * np.array([1, 0, -1])[classes]
    crops = np.stack([drawn_face(AFFECTS[index], number) for number, index in enumerate(classes)])
    return replace(
        face_dataset(crops, np.zeros((count, GEOMETRY_SIZE)), np.eye(3)[classes]),
        landmarks_px=landmarks.astype(np.float32),
    )


def test_changes_of_areas_edges_and_angles_by_hand():
    triangles = FaceTriangles.of(SQUARE)
    assert (len(triangles.triangles), len(triangles.edges)) == (2, 5)
    twice = np.stack([SQUARE, 2 * SQUARE, SQUARE * [1, 2]])
    np.testing.assert_allclose(triangles.area_changes(twice), [[0, 0], [2, 2], [1, 1]], atol=1e-9)
    unchanged, scaled, stretched = triangles.features(twice)
    np.testing.assert_allclose(unchanged, 0, atol=1e-9)
    np.testing.assert_allclose(scaled, [2] * 2 + [0] * 6 + [1] * 5, atol=1e-9)  # areas, angles, edges
    flatter = np.degrees(stretched[2:8].reshape(2, 3))
    np.testing.assert_allclose(flatter.sum(1), 0, atol=1e-6)
    assert np.sort(flatter[0])[-1] == pytest.approx(np.degrees(np.arctan(2)) - 45)


def test_a_sliver_at_the_border_is_no_triangle():
    points = np.array([[0, 0], [1, 0], [2, -0.01], [1, 1]])  # the first three lie almost on a line
    assert len(FaceTriangles.of(points).triangles) == 2


def test_triangles_tell_the_faces_apart_wherever_they_are_in_the_photo():
    train, new = faces(60), faces(30)
    turned = replace(new, landmarks_px=new.landmarks_px[:, :, ::-1] * [1, -1] * 3 + 40)  # a quarter turn, larger, moved
    np.testing.assert_allclose(aligned_points(turned.landmarks_px), aligned_points(new.landmarks_px), atol=1e-3)
    triangles, predictions = triangle_predictions(train, turned)
    assert predictions.accuracy.value > 0.9
    png = draw_triangles(triangles, aligned_points(new.landmarks_px), new.images.truth, AFFECTS)
    assert png.startswith(b"\x89PNG")


def test_the_average_face_is_of_neutral_faces_that_look_ahead():
    dataset = faces(60)
    dataset.geometry[30:, -2] = 9.5 / 30  # yaw
    dataset.geometry[45:, -1] = 11 / 30  # pitch
    neutral = dataset.images.truth == 1
    mean = neutral_face(dataset)
    np.testing.assert_allclose(mean, aligned_points(dataset.landmarks_px[:45][neutral[:45]]).mean(0), atol=1e-6)
    with pytest.raises(DatasetError, match="of 10 infants that look ahead; there are 9 of 9"):
        neutral_face(dataset.rows(np.arange(60) < 27))
    found = typical_differences(dataset, mean)
    assert {name: each.n for name, each in found.items()} == {
        "neutral, yaw 0 to 4 degrees": 10, "neutral, yaw 8 to 10 degrees": 5, "neutral, pitch 0 to 4 degrees": 10,
        "positive, ahead": 15, "neutral, ahead": 15, "negative, ahead": 15,
    }  # fmt: skip
    assert 0 < found["neutral, ahead"].value < 1


def test_a_mean_face_is_the_mean_and_never_of_few():
    dataset = faces(31)
    means = mean_faces(dataset)
    assert list(means) == ["all", *AFFECTS]
    expected = dataset.crops[dataset.images.truth == 2].astype(float).mean(0)
    np.testing.assert_allclose(means["negative"], expected, atol=0.51)
    assert list(mean_faces(dataset.rows(np.arange(31) < 12))) == ["all"]
    with pytest.raises(DatasetError, match="of 10 infants; there are 9"):
        mean_faces(dataset.rows(np.arange(31) < 9))


def test_many_faces_of_few_infants_have_no_average():
    """Of 40 faces of one infant, or 60 of nine, the average could be recognised."""
    for count, infants in ((40, 1), (60, 9)):
        dataset = faces(count)
        subject = np.array([f"i{number % infants}" for number in range(count)])
        few = replace(dataset, images=replace(dataset.images, subject=subject))
        with pytest.raises(DatasetError, match=f"of 10 infants; there are {infants}"):
            mean_faces(few)
        with pytest.raises(DatasetError, match=r"neutral faces of 10 infants that look ahead; there are \d+ of \d\."):
            neutral_face(few)
    neutral = dataset.images.truth == 1
    some = replace(dataset, images=replace(dataset.images, subject=np.where(neutral, "one", dataset.images.subject)))
    assert list(mean_faces(some)) == ["all", "positive", "negative"]


def test_irises_that_look_aside_move_the_alignment_by_irises_alone():
    still = np.repeat(faces(1).landmarks_px, 8, axis=0)
    still[:, list(RIGHT_IRIS)], still[:, list(LEFT_IRIS)] = anchors(still[0])[0], anchors(still[0])[1]
    looking = still.copy()
    looking[:, [*RIGHT_IRIS, *LEFT_IRIS], 0] += np.linspace(-5, 5, 8)[:, None]
    assert alignment_spread(looking) == pytest.approx(0, abs=1e-5)
    assert alignment_spread(looking, irises=True) > 0.005
    assert not set(MOUTH_CORNERS) & {*RIGHT_IRIS, *LEFT_IRIS}


def test_the_plane_has_each_emotion_s_mean_valence_and_arousal(tmp_path):
    dataset = faces(12)
    checkpoint = load_checkpoint()
    plane = emotion_plane(checkpoint, dataset)
    assert set(plane) <= set(EMOTIONS)
    assert sum(each["n"] for each in plane.values()) == 12
    assert all(-2 <= each["valence"] <= 2 and 0 <= each["arousal"] <= 2 for each in plane.values())
    with pytest.raises(DatasetError, match="no heads for emotions"):
        emotion_plane(load_checkpoint(save_tiny(tmp_path / "tiny")), replace(dataset, crops=dataset.crops[:, :32, :32]))


def test_a_folder_without_pictures_is_one_sentence(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["--data", str(tmp_path / "empty"), "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_pictures_without_a_neutral_label_are_refused_before_faces_are_searched(tmp_path, monkeypatch, capsys):
    (tmp_path / "pictures").mkdir()
    for split in ("train", "dev"):
        for label in ("happy", "sad"):
            cv2.imwrite(str(tmp_path / "pictures" / f"{split}_{label}.png"), drawn_face("positive", len(label)))
    rows = [f"{split}_{label}.png,{label},{split}" for split in ("train", "dev") for label in ("happy", "sad")]
    (tmp_path / "table.csv").write_text("\n".join(["file,label,split", *rows]))
    monkeypatch.setattr(faces_command, "align_images", lambda *_: pytest.fail("faces were searched"))
    command = ["--data", str(tmp_path / "table.csv"), "--out", str(tmp_path / "out")]
    assert main(command) == 1
    assert "Name its folder or zip with --pictures" in capsys.readouterr().err
    assert main([*command, "--pictures", str(tmp_path / "pictures")]) == 1
    assert "no train picture has the label 'neutral'" in capsys.readouterr().err


def test_equal_files_are_one_infant_before_splits_are_drawn(tmp_path, monkeypatch):
    for number in range(24):
        picture = cv2.imencode(".png", drawn_face(AFFECTS[number % 3], number))[1].tobytes()
        for copy in "ab":
            (tmp_path / f"i{number}{copy}_{AFFECTS[number % 3]}.png").write_bytes(picture)
    images = read_labeled_images(tmp_path)
    crops = np.random.default_rng(0).integers(0, 256, (24, 48, 48, 3), np.uint8).repeat(2, axis=0)
    dataset = replace(face_dataset(crops, np.zeros((48, GEOMETRY_SIZE)), np.eye(3)[images.truth]), images=images)
    monkeypatch.setattr(faces_command, "align_images", lambda *_: dataset)
    found = faces_command._split_faces(images, CropSpec(), tmp_path).images
    number = np.array([Path(member).stem.partition("_")[0][:-1] for member in found.members])
    assert len(np.unique(found.subject)) == 24
    assert set(found.split) == {"train", "dev", "test"}
    assert all(len(set(found.split[number == each])) == 1 for each in number)


def test_a_label_without_a_train_face_is_refused():
    dataset = faces(30)
    for label, index in (("neutral", 1), ("negative", 2)):
        with pytest.raises(DatasetError, match=f"train picture .*the label '{label}'"):
            triangle_predictions(dataset.rows(dataset.images.truth != index), dataset)


def test_its_own_folder_is_written_again_and_a_checkpoint_is_refused(tmp_path, capsys):
    out, empty = tmp_path / "out", tmp_path / "empty"
    for folder in (out, empty):
        folder.mkdir()
    (out / "faces.json").write_text("{}")
    command = ["--data", str(empty), "--out", str(out)]
    assert main(command) == 1
    assert "did not write" not in capsys.readouterr().err  # but that the other folder has no pictures
    (out / "config.json").write_text('{"face_crop": {}}')
    (out / "metrics.json").write_text("{}")
    for _ in range(2):
        assert main(command) == 1
        assert "out holds files that this program did not write" in capsys.readouterr().err
        (out / "faces.json").unlink(missing_ok=True)


SHOWN = {"smile": "positive", "laugh": "positive", "neutral": "neutral", "cry": "negative", "pout": "negative"}


def pictures(folder):
    """Write a table of rendered faces, each as it is, mirrored, darker and turned: half of the infants are train, half dev.

    A further file, before the others, is no picture."""
    lines = ["file,label,subject,split"]
    for name, label in SHOWN.items():
        photo = cv2.imread(str(EXAMPLES / f"{name}.jpg"))
        height, width = photo.shape[:2]
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), 8, 0.9)
        variants = [photo, photo[:, ::-1], (photo * 0.8).astype(np.uint8), cv2.warpAffine(photo, turn, (width, height))]
        for number, picture in enumerate(variants):
            cv2.imwrite(str(folder / f"{name}{number}.png"), picture)
            lines.append(f"{name}{number}.png,{label},{name}{number},{('train', 'dev')[number % 2]}")
    (folder / "broken.png").write_bytes(b"no picture")
    lines.insert(1, "broken.png,neutral,b,train")
    (folder / "table.csv").write_text("\n".join(lines))
    return folder / "table.csv"


@pytest.mark.slow
def test_the_command_writes_every_figure_and_the_numbers(tmp_path, capsys):
    out = tmp_path / "out"
    command = ["--data", str(pictures(tmp_path)), "--cache", str(tmp_path / "cache"), "--out"]
    assert main([*command, str(out), "--checkpoint", "checkpoints/infant-fer-mobile"]) == 0
    assert {file.name for file in out.iterdir()} == {"triangles.png", "emotions.png", "faces.json"}
    for file in out.glob("*.png"):
        assert cv2.imread(str(file)).std() > 5
    found = json.loads((out / "faces.json").read_text())
    assert found["triangles"]["accuracy"]["n"] == 10
    assert found["triangles"]["accuracy"]["value"] > 0.5  # dev is a mirror image, or turned, of train
    assert sum(each["n"] for each in found["emotions"].values()) == 10
    assert max(found["emotions"], key=lambda name: found["emotions"][name]["valence"]) == "happy"
    printed = capsys.readouterr().out
    assert "triangles alone, dev: " in printed
    assert "A mean face needs faces of 10 infants; there are " in printed  # a picture and its mirror image are of one
    for name in ("mean_face.png", "neutral_face.csv"):
        (out / name).write_text("of an earlier run")
    assert main([*command, str(out)]) == 0
    assert {file.name for file in out.iterdir()} == {"triangles.png", "faces.json"}
    assert main([*command, str(tmp_path / "other"), "--part", "test"]) == 1
    assert "No face was found in a picture of the split 'test'" in capsys.readouterr().err
