"""Maps of a whole split: figures by hand, and rendered faces through the command `infant-fer evaluate --maps`."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

from infant_fer.classifier import AffectClassifier
from infant_fer.errors import CheckpointError
from infant_fer.evaluate import main
from infant_fer.evaluation.map_report import (
    HEADING,
    RECORD,
    finding,
    method_sentence,
    read_maps,
    sections,
    with_maps,
    write_maps,
)
from infant_fer.evaluation.mean_maps import MeanMap
from infant_fer.evaluation.split_maps import PictureMaps, SplitMaps
from infant_fer.explain.faithfulness import Curve, Faithfulness
from infant_fer.face import anchors
from infant_fer.labels import AFFECTS
from infant_fer.regions import PARTS
from tests.conftest import EXAMPLES
from tests.tiny_checkpoints import save_tiny

SHARES = np.array([0.0, 1.0])


def curve(area: float) -> Curve:
    return Curve(SHARES, np.array([area, area]))


def row(infant: str, truth: str, answer: str, deletion: float, leading: str) -> PictureMaps:
    """Return a picture whose map has 3 times the mean in one part and 1 elsewhere."""
    ratios = {part: 3.0 if part == leading else 1.0 for part in PARTS}
    tested = Faithfulness(answer, curve(deletion), curve(0.8), curve(0.5), curve(0.3), "neighbours")
    values = np.full((8, 8), deletion, np.float32)
    mesh = np.random.default_rng(0).uniform(1, 7, (478, 2))
    return PictureMaps(
        0, infant, truth, answer, mesh, {"gradcam": values}, {"gradcam": dict.fromkeys(PARTS, 1 / 8)},
        {"gradcam": ratios}, {"gradcam": tested},
    )  # fmt: skip


def maps_by_hand() -> SplitMaps:
    rows = [
        row("a", "negative", "negative", 0.1, "mouth"),
        row("a", "negative", "neutral", 0.3, "brows"),
        row("b", "negative", "negative", 0.2, "mouth"),
        row("c", "positive", "positive", 0.6, "mouth"),
    ]
    return SplitMaps(tuple(rows), ("gradcam",), 50, 1, {"rollout": "No attention."})


def test_maps_are_averaged_where_the_parts_of_the_faces_are():
    """In whole pictures each face lies, and is turned and enlarged, as it was taken."""
    mesh = np.random.default_rng(0).uniform(30, 50, (478, 2))
    about = mesh.mean(axis=0)
    meshes = [
        (mesh - about) @ (scale * turn(degrees)).T + about + shift
        for scale, degrees, shift in ((1, -50, (3, 2)), (1.3, 50, (8, -9)))
    ]
    values = [np.zeros((90, 90)) for _ in meshes]
    for each, found in zip(values, meshes, strict=True):
        x, y = found[1].round().astype(int)  # the tip of the nose
        each[y - 2 : y + 3, x - 2 : x + 3] = 1
    mean = MeanMap.of("negative", values, meshes, [dict.fromkeys(PARTS, 1 / 8)] * 2)
    x, y = mean.landmarks_px[1].round().astype(int)
    assert mean.values[y, x] == pytest.approx(1)
    assert np.ptp(mean.values.nonzero(), axis=1).max() < 9  # one place, not two
    sizes = [np.linalg.norm(np.diff(anchors(each)[:2], axis=0)) for each in (mean.landmarks_px, mesh)]
    assert sizes[0] == pytest.approx(
        1.15 * sizes[1], rel=0.02
    )  # the faces' mean size: opposite turns make it no smaller


def turn(degrees: float) -> np.ndarray:
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[cos, -sin], [sin, cos]])


def test_figures_of_a_split_by_hand():
    maps = maps_by_hand()
    found = maps.faithfulness()["gradcam"]
    assert found["deletion_auc"].value == pytest.approx(0.3)
    assert found["below_random"].value == pytest.approx(1 - 0.3 / 0.5)
    assert (found["below_random"].n, found["below_random"].infants) == (4, 3)
    low, high = found["below_random"].interval
    assert low < found["below_random"].value < high
    better = maps.better_than_random()["gradcam"]
    assert (better.right, better.n) == (3, 4)
    ratios = maps.ratios(maps.rows(truth="negative", answer="negative"), "gradcam")
    assert next(iter(ratios)) == "mouth"
    assert ratios["mouth"].value == 3
    assert maps.leading(maps.rows(answer="neutral"), "gradcam", ("brows", "nose")).right == 1
    assert maps.mean_map("negative", "gradcam").values[0, 0] == pytest.approx(0.15)
    assert maps.mean_map("neutral", "gradcam").n == 1
    plain = maps.to_dict()
    assert plain["zone_leads"]["gradcam"]["negative"]["mouth"]["right"] == 2
    assert plain["zone_leads"]["gradcam"]["neutral"]["T-zone"]["right"] == 1
    assert plain["part_ranking"]["gradcam"]["negative"]["mouth"]["leads"]["value"] == 1
    assert plain["without a mesh"] == 1
    assert plain["faithfulness"]["gradcam"]["deletion_auc"]["infants"] == 3
    assert set(plain["emphasis_per_part"]["gradcam"]) == {"positive", "neutral", "negative"}
    words = finding(plain)
    assert words.startswith("4 pictures of 3 infants")
    assert "Grad-CAM: deletion area 40% below random" in words
    assert ", not below edges" in words  # 0.3 against 0.3
    assert "Attention rollout: No attention." in words


def test_parts_are_ranked_with_intervals_over_infants():
    """Nine pictures of one infant lead with the mouth, one each of two others with the brows: the order is not sure."""
    pictures = [row("a", "positive", "positive", 0.1, "mouth")] * 9
    pictures += [row(name, "positive", "positive", 0.1, "brows") for name in "bc"]
    maps = SplitMaps(tuple(pictures), ("gradcam",), 50, 0, {})
    ranking = maps.ranking(maps.pictures, "gradcam")
    assert list(ranking)[:2] == ["mouth", "brows"]
    assert (ranking["mouth"].rank, ranking["brows"].rank, ranking["chin"].rank) == (1, 2, 3)
    assert ranking["mouth"].interval[0] == 1
    assert ranking["mouth"].interval[1] > 1  # without the one infant it does not lead
    assert (ranking["mouth"].leads.right, ranking["mouth"].leads.n) == (9, 11)
    alone = SplitMaps(tuple(pictures[:9]), ("gradcam",), 50, 0, {})
    assert alone.ranking(alone.pictures, "gradcam")["mouth"].interval is None  # of one infant
    sure = SplitMaps((*pictures[:9], row("d", "positive", "positive", 0.1, "mouth")), ("gradcam",), 50, 0, {})
    assert sure.ranking(sure.pictures, "gradcam")["mouth"].interval == (1, 1)


def test_a_map_that_marks_nothing_leads_with_no_part():
    marked, blank = row("a", "positive", "positive", 0.1, "mouth"), row("b", "positive", "positive", 0.1, "brows")
    blank = replace(blank, tested={"gradcam": replace(blank.tested["gradcam"], marks=False)})
    maps = SplitMaps((marked, blank), ("gradcam",), 50, 0, {})
    lead = maps.leading(maps.pictures, "gradcam", ("brows",))
    assert (lead.right, lead.n) == (0, 1)
    assert maps.leading([blank], "gradcam", ("brows",)).n == 0
    assert maps.better_than_random()["gradcam"].right == 1
    for found in (maps.ratios, maps.ranking):
        assert found(maps.pictures, "gradcam") == found([marked], "gradcam")
        assert found([blank], "gradcam") == {}
    alone = replace(maps, pictures=(marked, replace(blank, answer="neutral")))
    record = alone.to_dict()
    assert record["emphasis_per_part"]["gradcam"]["neutral"] == {}
    assert "mouth 3.0" in with_maps("# net", record)
    assert len(list(sections(alone))) == 2


def test_the_card_has_the_table_and_keeps_its_other_sections():
    card = "# net\n\n## Figures\n\nall\n\n## Data and licence\n\nmuch\n"
    written = with_maps(card, maps_by_hand().to_dict())
    assert written.index("## Figures") < written.index(HEADING) < written.index("## Data and licence")
    assert re.search(r"\| Grad-CAM \| 0\.30 \(0\.\d\d–0\.60\), n = 4 \| 0\.50 \(0\.50–0\.50\), n = 4 \|", written)
    assert "75.0 %" in written  # of the pictures below random
    assert "| Grad-CAM | mouth 3.0 (one infant, no interval)," in written  # read as positive
    assert "| mouth 3.0 (3.0–3.0)," in written  # negative: two infants
    assert "brows 3.0 (one infant, no interval)" in written
    assert "| T-zone (forehead, brows, nose) | 0.0 % (0–" in written
    older = maps_by_hand().to_dict()
    del older["zone_leads"]
    assert "T-zone" not in with_maps(card, older)
    assert with_maps(written, maps_by_hand().to_dict()) == written


def test_a_method_that_is_hardly_better_than_random_carries_a_warning():
    record = maps_by_hand().to_dict()
    assert method_sentence(record, "gradcam").startswith(
        "On 4 dev pictures the deletion area of this checkpoint's Grad-CAM"
    )
    assert "less than" not in method_sentence(record, "gradcam")  # 40 %
    record["faithfulness"]["gradcam"]["below_random"]["value"] = 0.24
    assert "less than the 25 % that a map should reach" in method_sentence(record, "gradcam")
    assert method_sentence(record, "rise") == ""


def test_figures_of_other_weights_are_not_shown(tmp_path):
    assert read_maps(tmp_path, "a") is None
    write_maps(tmp_path, maps_by_hand().to_dict(), "a")
    assert read_maps(tmp_path, "a")["n"] == 4
    assert read_maps(tmp_path, "b") is None
    assert HEADING in (tmp_path / "README.md").read_text()
    below = {"value": "0.4", "n": 4, "infants": 3, "interval95": [0.1, 0.5]}
    for damaged in (
        [],
        {"weights_sha256": "a"},
        {"weights_sha256": "a", "split": "dev", "faithfulness": {"gradcam": {}}},
        {"weights_sha256": "a", "split": "dev", "faithfulness": {"gradcam": {"below_random": below}}},
        {"weights_sha256": "a", "faithfulness": {"gradcam": {"below_random": below | {"value": 0.4}}}},
    ):
        (tmp_path / RECORD).write_text(json.dumps(damaged))
        with pytest.raises(CheckpointError, match=r"maps\.json of the checkpoint .* is damaged"):
            read_maps(tmp_path, "a")


@pytest.mark.slow
def test_the_command_explains_a_split(tmp_path, capsys):
    table = ["file,label,subject"]
    for number, (name, label) in enumerate((("smile", "positive"), ("cry", "negative"), ("neutral", "neutral"))):
        table.append(f"{EXAMPLES / name}.jpg,{label},{number}")
    data = tmp_path / "table.csv"
    data.write_text("\n".join(table))
    record, report = tmp_path / "record.json", tmp_path / "report.html"
    folder = shutil.copytree("checkpoints/infant-fer-small", tmp_path / "infant-fer-small")
    code = main(
        [str(folder), "--card", "--data", str(data), "--part", "all", "--cache", str(tmp_path / "cache"),
         "--maps", "smoothgrad", "attention_relevance", "--json", str(record), "--report", str(report), "--gallery"]
    )  # fmt: skip
    assert code == 0
    assert "SmoothGrad: deletion area" in capsys.readouterr().out
    maps = json.loads(record.read_text())["infant-fer-small"]["maps"]
    assert maps["n"] == 3
    assert maps["faithfulness"]["smoothgrad"]["below_random"]["value"] > 0.25
    assert maps["emphasis_per_part"]["smoothgrad"]["positive"]["mouth"]["value"] > 1
    kept = read_maps(folder, AffectClassifier.from_pretrained(folder).weights_sha256)
    assert kept["faithfulness"] == maps["faithfulness"]
    assert kept["split"] == "all"
    assert "| SmoothGrad | " in (folder / "README.md").read_text()
    html = report.read_text()
    assert "Are the maps true?" in html
    assert re.search(r"mouth \(one infant, no interval\), brightest in", html)
    assert "labelled positive, read as positive" in html
    convolutions = str(save_tiny(tmp_path / "resnet", "resnet", AFFECTS))
    assert main([convolutions, "--data", str(data), "--part", "all", "--maps", "rollout",
                 "--cache", str(tmp_path / "cache")]) == 1  # fmt: skip
    assert "None of the methods applies. " in capsys.readouterr().err
    assert main([str(folder), "--data", str(data), "--part", "all", "--card"]) == 1
    assert "--card writes the figures of --maps" in capsys.readouterr().err
