"""The verdict on one face: rules of the picture, their order, and what reports say of them."""

import csv
import io
from dataclasses import replace

import cv2
import numpy as np
import pytest

from infant_fer.alignment import AlignedFace
from infant_fer.batch.writers import WRITERS, FileResult, PhotoFile
from infant_fer.classifier import Prediction
from infant_fer.face import Face, HeadPose
from infant_fer.images import load_image
from infant_fer.trust.gate import assess
from infant_fer.trust.rules import findings
from tests.conftest import EXAMPLES

SURE = Prediction("positive", {"positive": 0.97, "neutral": 0.02, "negative": 0.01})
LANDMARKS = np.array([[0.0, 0.0], [150.0, 200.0]], np.float32)
OPEN_EYES = {"eyeBlinkLeft": 0.0, "eyeBlinkRight": 0.0}


def face_of(height: float = 200.0, yaw: float = 0.0, roll: float = 0.0) -> Face:
    return Face(LANDMARKS * height / 200, OPEN_EYES, HeadPose(yaw, 0.0, roll))


def crop_of(level: float = 128, contrast: float = 40, blur: float = 0) -> AlignedFace:
    noise = np.random.default_rng(0).normal(level, contrast, (96, 96, 3)).clip(0, 255).astype(np.uint8)
    return AlignedFace(cv2.GaussianBlur(noise, (0, 0), blur) if blur else noise, np.eye(2, 3))


def verdict_and_codes(face=face_of(), crop=crop_of(), prediction=SURE) -> tuple[str, list[str]]:
    found = assess(prediction, findings(face, crop, prediction))
    return found.verdict, [reason.code for reason in found.reasons]


@pytest.mark.parametrize(
    ("changed", "verdict", "codes"),
    [
        ({}, "answer", []),
        ({"face": face_of(height=63)}, "answer", []),
        ({"face": face_of(height=23)}, "caution", ["few_pixels"]),
        ({"face": face_of(height=15)}, "cannot say", ["few_pixels"]),
        ({"face": face_of(yaw=-36)}, "caution", ["turned"]),
        ({"face": face_of(yaw=61)}, "cannot say", ["turned"]),
        ({"face": face_of(roll=80)}, "answer", []),
        ({"crop": crop_of(level=40)}, "answer", []),
        ({"crop": crop_of(level=9, contrast=6)}, "caution", ["dark"]),
        ({"crop": crop_of(level=4, contrast=4)}, "cannot say", ["dark"]),
        ({"crop": crop_of(blur=2)}, "caution", ["blurred"]),
        ({"crop": crop_of(contrast=0)}, "cannot say", ["blurred"]),
        ({"prediction": replace(SURE, usable=0.7)}, "caution", ["not_infant"]),
        ({"prediction": replace(SURE, usable=0.4)}, "cannot say", ["not_infant"]),
        ({"prediction": replace(SURE, mouth_covered=0.8)}, "caution", ["covered"]),
        ({"prediction": replace(SURE, eyes_closed=0.9)}, "answer", []),
    ],
)
def test_one_fact_gives_one_verdict(changed, verdict, codes):
    assert verdict_and_codes(**changed) == (verdict, codes)


def test_a_face_of_too_few_pixels_is_told_its_height():
    few, small = (findings(face_of(height=height), crop_of(), SURE)[0].reason.text for height in (15, 23))
    assert few == "The face is only 15 pixels high: too few for an answer."
    assert small == "The face is small in the photo; a closer picture reads better."


def test_what_forbids_an_answer_comes_before_what_asks_for_caution():
    prediction = replace(SURE, mouth_covered=0.9)
    assert verdict_and_codes(face_of(height=12), crop_of(level=9, contrast=6), prediction) == (
        "cannot say",
        ["few_pixels", "dark", "covered"],
    )


def test_a_near_tie_is_a_set_of_two():
    tied = replace(SURE, label="neutral", probabilities={"positive": 0.01, "neutral": 0.55, "negative": 0.44})
    found = assess(tied, findings(face_of(), crop_of(), tied))
    assert found.prediction_set == ("neutral", "negative")
    assert (found.verdict, [reason.code for reason in found.reasons]) == ("caution", ["near_tie"])
    assert found.label is None
    assert (assess(SURE, ()).prediction_set, assess(SURE, ()).label) == (("positive",), "positive")


def test_a_report_carries_the_assessment_into_its_json_and_csv(analyzer, tmp_path):
    tiny = cv2.resize(load_image(EXAMPLES / "neutral.jpg"), (36, 36), interpolation=cv2.INTER_AREA)
    report = analyzer.analyze(tiny)
    (face,) = report.to_dict()["faces"]
    assert face["assessment"]["verdict"] == "caution"
    assert "few_pixels" in [reason["code"] for reason in face["assessment"]["reasons"]]
    assert [reason["text"] for reason in face["assessment"]["reasons"]] == face["notes"][
        : len(report.faces[0].assessment.reasons)
    ]
    with WRITERS["csv"].opened(tmp_path / "out.csv") as write:
        for result in (
            FileResult(PhotoFile(tmp_path / "tiny.png", "tiny.png"), report),
            FileResult(PhotoFile(tmp_path / "none.png", "none.png"), None, "unreadable"),
        ):
            write(WRITERS["csv"].entry(result))
    row, none = csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text("utf-8")))
    assert row["verdict"] == "caution"
    assert row["prediction_set"].split("|") == face["assessment"]["prediction_set"]
    assert "few_pixels" in row["reasons"].split("|")
    assert (none["verdict"], none["prediction_set"], none["reasons"]) == ("", "", "")
