"""Maps side by side and the command `infant-fer explain`: JSON names, pictures, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest

from infant_fer.__main__ import main
from infant_fer.analyzer import Analyzer, ExplanationSettings
from infant_fer.drawing import overlaid
from infant_fer.evaluate import main as evaluate
from infant_fer.explain import METHODS, comparison
from infant_fer.explain.__main__ import DIFFERENCE_PICTURE, PAGE, PICTURES_HEADING, write_folder
from infant_fer.explain.__main__ import main as command
from infant_fer.explain.comparison import (
    NO_FACE_THERE,
    MeasuredMap,
    Unavailable,
    agreement,
    answer_of,
    compare,
    measure,
)
from infant_fer.explain.covering import PartDrops
from infant_fer.explain.faithfulness import STEPS, Curve, Faithfulness
from infant_fer.explain.saliency import SaliencyMap
from infant_fer.images import load_image
from infant_fer.regions import PARTS
from infant_fer.report import Explanation
from tests.conftest import EXAMPLES
from tests.tiny_checkpoints import save_tiny

SMILE = EXAMPLES / "smile.jpg"


@pytest.fixture(scope="module")
def mobile() -> Analyzer:
    """Return the pipeline with the smallest released checkpoint."""
    return Analyzer.from_pretrained("checkpoints/infant-fer-mobile", device="cpu")


def box(report, number: int = 1):
    return report.face(number).face.box_xyxy


@pytest.mark.slow
def test_the_same_face_is_explained_whatever_number_a_checkpoint_gives_it(mobile, two_faces_path):
    report = mobile.analyze(two_faces_path)
    turned = tuple(replace(face, number=3 - face.number) for face in reversed(report.faces))
    reports = {"a": report, "b": replace(report, faces=turned), "c": replace(report, faces=report.faces[1:])}
    pairs = {name: (mobile, each) for name, each in reports.items()}
    first, second, missing = compare(pairs, box(report), ["gradcam"], ["positive"], ExplanationSettings())
    assert (first.number, second.number) == (1, 2)
    np.testing.assert_array_equal(second.explanation.saliency.values, first.explanation.saliency.values)
    assert missing == Unavailable("c", "gradcam", "positive", NO_FACE_THERE)


@pytest.mark.slow
def test_maps_are_measured_for_every_class_and_method(mobile):
    report = mobile.analyze(SMILE)
    methods = ["gradcam", "part_occlusion"]
    found = list(compare({"c": (mobile, report)}, box(report), methods, [None, "negative"], ExplanationSettings()))
    explained = [(each.explanation.saliency.method, each.explanation.saliency.target) for each in found]
    assert explained == [
        ("gradcam", "positive"), ("part_occlusion", "positive"), ("gradcam", "negative"), ("part_occlusion", "negative"),
    ]  # fmt: skip
    first, parts = found[0], found[1]
    assert first.faithfulness.margin > 0  # better than random
    assert first.drops.drops["mouth"] == max(first.drops.drops.values())
    assert parts.rank_correlation > 0  # the same experiment with another filling
    assert first.to_dict()["seed"] is None
    assert report.faces[0].explanation is None  # the report that was given is left as it was


@pytest.mark.slow
def test_maps_of_one_class_share_what_does_not_depend_on_the_map(mobile):
    """The random order, the edges and the covered parts are computed once a class, and are those of a map alone."""
    report = mobile.analyze(SMILE)
    counts: list[int] = []
    plain = mobile.classifier.image_probabilities

    def counted(crops):
        counts.append(len(crops))
        return plain(crops)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mobile.classifier, "image_probabilities", counted)
        found = list(
            compare(
                {"c": (mobile, report)},
                box(report),
                ["gradcam", "layercam"],
                ["positive", "neutral"],
                ExplanationSettings(),
            )
        )
    both, one = 4 * (STEPS - 1) + 2, 2 * (STEPS - 1) + 2  # curves with the references, and of a further map
    assert counts == [both, counts[1], one] * 2  # and the face's parts after the first map
    alone = measure(mobile, report, 1, ExplanationSettings("layercam", "neutral"))
    assert found[3].to_dict()["part_drop"] == alone.to_dict()["part_drop"]
    for name in ("deletion_auc", "edge_deletion_auc"):
        assert found[3].faithfulness.to_dict()[name] == pytest.approx(alone.faithfulness.to_dict()[name], abs=1e-3)


def test_the_answer_against_another_class_is_its_share_of_the_two(analyzer):
    crops = analyzer.analyze(SMILE).faces[0].aligned.crop_rgb[None]
    positive, neutral, _ = analyzer.classifier.image_probabilities(crops)[0]
    found = answer_of(analyzer.classifier, "positive", "neutral")(crops)
    assert found == pytest.approx(positive / (positive + neutral))


def test_agreement_is_over_cells_so_that_sizes_may_differ():
    ramp = np.tile(np.linspace(0, 1, 96), (96, 1))
    large = np.tile(np.linspace(0, 1, 224), (224, 1))
    numbers = agreement([ramp, large, -ramp, np.ones((96, 96))])
    assert numbers[0, 1] == pytest.approx(1)
    assert numbers[0, 2] == pytest.approx(-1)
    assert np.isnan(numbers[0, 3])
    np.testing.assert_array_equal(numbers, numbers.T)


@pytest.mark.slow
def test_the_command_writes_pictures_page_and_the_promised_names(tmp_path, capsys):
    other = save_tiny(tmp_path / "tiny", "swin")
    out, record = tmp_path / "out", tmp_path / "record.json"
    options = ["--methods", "gradcam", "rollout", "smoothgrad", "--samples", "4", "--target", "negative"]
    code = main(["explain", str(SMILE), *options, "--checkpoints", "checkpoints/infant-fer-small", str(other),
                 "--out", str(out), "--json", str(record)])  # fmt: skip
    assert code == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 6
    assert any("no attention over the whole crop" in line for line in printed)
    written = json.loads(record.read_text())
    assert [each["method"] for each in written["explanations"]] == [
        "gradcam", "rollout", "smoothgrad", "gradcam", "smoothgrad",
    ]  # fmt: skip
    assert written["unavailable"][0]["method"] == "rollout"
    for each in written["explanations"]:
        assert each["target"] == "negative"
        assert set(each["faithfulness"]) == {
            "deletion_auc", "insertion_auc", "random_deletion_auc", "edge_deletion_auc",
        }  # fmt: skip
        assert {"mouth", "eyes"} <= set(each["part_drop"])
        assert sum(each["share_per_part"].values()) == pytest.approx(1, abs=0.001)
        assert (each["precision"], each["device"]) == ("float32", "cpu") or each["checkpoint"] == "tiny"
        assert each["seed"] == (0 if each["method"] == "smoothgrad" else None)
    picture = load_image(out / "infant-fer-small-smoothgrad-negative-signed.png")
    assert picture.ndim == 3
    html = (out / "explanations.html").read_text()
    assert "Do the maps agree?" in html
    assert "nothing about what the model used" in html
    assert load_image(out / "difference-from-average.png").ndim == 3
    assert "http" not in html.replace("http-equiv", "")


def test_no_difference_picture_of_an_earlier_photo_stays_behind(tmp_path, mobile):
    """Nor a map of it: the pictures are those that the page is about, beside what is not the program's own."""
    own = {tmp_path / "notes.txt", tmp_path / "kept-infant-fer-mobile-gradcam-positive.png"}
    for path in own:
        path.write_bytes(b"not the program's")
    for name, target, has_picture in (("cry", "negative", True), ("lying", "neutral", False)):
        report = mobile.analyze(EXAMPLES / f"{name}.jpg")
        settings = ExplanationSettings("integrated_gradients", target, samples=2)
        write_folder(tmp_path, [measure(mobile, report, 1, settings)], report, 1)
        maps = {f"infant-fer-mobile-integrated_gradients-{target}{end}.png" for end in ("", "-signed")}
        written = {path.name for path in tmp_path.iterdir()} - {path.name for path in own}
        assert written == {PAGE, *maps, *([DIFFERENCE_PICTURE] if has_picture else [])}
    assert "turned by more than" in (tmp_path / PAGE).read_text()
    assert {path.read_bytes() for path in own} == {b"not the program's"}


def test_no_picture_is_deleted_outside_the_folder_or_without_a_page_that_names_it(tmp_path, mobile):
    outside, out = tmp_path / "a.png", tmp_path / "out"
    out.mkdir()
    for path in (outside, out / "b&c.png", out / "d.png"):
        path.write_bytes(b"x")
    cells = "".join(f'<th scope="row">{name}</th>' for name in ("../a.png", str(outside), "b&amp;c.png"))
    (out / PAGE).write_text(f'<th scope="row">d.png</th><h2>{PICTURES_HEADING}</h2>{cells}')
    write_folder(out, [], mobile.analyze(EXAMPLES / "lying.jpg"), 1)
    assert outside.exists()
    assert {path.name for path in out.iterdir()} == {PAGE, "d.png"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--face", "7"], "1 faces were found; give another --face"),
        (["--json", str(SMILE)], "picture"),
    ],
)
def test_what_cannot_be_explained_is_said_in_one_sentence(arguments, words, capsys):
    assert main(["explain", str(SMILE), *arguments]) == 1
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--face", "0"], ["--samples", "0"]])
def test_a_number_below_one_is_a_wrong_command(arguments, capsys):
    with pytest.raises(SystemExit) as raised:
        command(["photo.jpg", *arguments])
    assert raised.value.code == 2
    assert "0 is below 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("run", "arguments"),
    [(command, ["photo.jpg", "--methods"]), (evaluate, ["checkpoint", "--data", "photos", "--maps"])],
    ids=["explain", "evaluate"],
)
def test_a_method_that_is_none_is_a_wrong_command_and_the_help_names_all(run, arguments, capsys):
    with pytest.raises(SystemExit) as raised:
        run([*arguments, "voodoo"])
    assert raised.value.code == 2
    assert "invalid choice: 'voodoo'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run(["--help"])
    shown = capsys.readouterr().out
    assert [name for name in METHODS if name not in shown] == []


def test_an_unavailable_map_says_why(tmp_path, analyzer):
    from infant_fer.classifier import AffectClassifier

    swin = Analyzer(analyzer.face_detector, AffectClassifier.from_pretrained(save_tiny(tmp_path, "swin")))
    report = swin.analyze(SMILE)
    [found] = compare({"s": (swin, report)}, box(report), ["rollout"], ["neutral"], ExplanationSettings())
    assert isinstance(found, Unavailable)
    assert found.reason.endswith(".")


def fake_measure(analyzer, report, number, settings, known=None):
    """Return a map of the face's answer without any work."""
    curve = Curve(np.array([0.0, 1.0]), np.array([0.9, 0.1]))
    target = settings.target or report.face(number).prediction.label
    saliency, even = SaliencyMap(np.eye(96, dtype=np.float32), settings.method, target, 1, 1), dict.fromkeys(PARTS, 1.0)
    report = report.with_explanation(number, Explanation(saliency, even, even))
    tested, drops = Faithfulness(target, *[curve] * 4, "blur"), PartDrops(target, 0.9, {"mouth": 0.1}, "blur")
    return MeasuredMap(report.checkpoint, report, number, tested, drops)


def test_two_folders_of_one_name_are_told_apart(analyzer, monkeypatch, tmp_path):
    monkeypatch.setattr(comparison, "measure", fake_measure)
    report = replace(analyzer.analyze(SMILE), checkpoint="ck")
    pairs = {"ck": (analyzer, report), "ck (2)": (analyzer, report)}
    found = list(compare(pairs, box(report), ["gradcam"], [None], ExplanationSettings()))
    assert [each.to_dict()["checkpoint"] for each in found] == list(pairs)
    assert [each.line.partition(",")[0] for each in found] == list(pairs)
    write_folder(tmp_path, found, report, 1)
    pictures = {f"{name}-gradcam-positive.png" for name in pairs}
    assert pictures <= {path.name for path in tmp_path.iterdir()}
    assert "Grad-CAM, positive, ck (2)" in (tmp_path / PAGE).read_text()


def test_a_checkpoint_whose_answer_is_the_class_to_compare_with_leaves_the_maps_of_others(analyzer, monkeypatch):
    monkeypatch.setattr(comparison, "measure", fake_measure)
    report = analyzer.analyze(SMILE)
    (face,) = report.faces
    other = replace(report, faces=(replace(face, prediction=replace(face.prediction, label="neutral")),))
    pairs, settings = {"a": (analyzer, report), "b": (analyzer, other)}, ExplanationSettings(versus="neutral")
    first, second = compare(pairs, box(report), ["gradcam"], [None], settings)
    assert (first.checkpoint, first.explanation.saliency.target) == ("a", "positive")
    assert second == Unavailable("b", "gradcam", "neutral", "'neutral' cannot be compared with itself.")


def test_a_class_to_explain_that_is_the_one_to_compare_with_is_a_wrong_command(capsys):
    with pytest.raises(SystemExit) as raised:
        command(["photo.jpg", "--target", "negative", "neutral", "--versus", "neutral"])
    assert raised.value.code == 2
    assert "--versus: neutral is a --target, too" in capsys.readouterr().err


def test_where_no_map_can_be_had_earlier_ones_stay(tmp_path, capsys):
    earlier = {PAGE: f"<h2>{PICTURES_HEADING}</h2><td>gradcam.png</td>", "gradcam.png": "a map"}
    for name, text in earlier.items():
        (tmp_path / name).write_text(text)
    wanted = [
        "--versus",
        "positive",
        "--methods",
        "gradcam",
        "--out",
        str(tmp_path),
        "--json",
        str(tmp_path / "a.json"),
    ]
    assert command([str(SMILE), *wanted]) == 1
    said = capsys.readouterr()
    assert "cannot be compared with itself" in said.out
    assert "no map to write" in said.err
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == earlier


def test_what_speaks_for_the_class_is_blue_and_against_it_orange():
    values = np.array([[1.0, -1.0, 0.0]])
    drawn = overlaid(np.full((1, 3, 3), 90, np.uint8), values, strength=1.0, signed=True)
    assert drawn[0].tolist() == [[0, 114, 178], [213, 94, 0], [90, 90, 90]]
