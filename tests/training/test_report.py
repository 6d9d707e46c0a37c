"""The report and the card of a training: both of its steps, its stages, and the variants that were compared."""

import json
import re
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from infant_fer import metrics
from infant_fer.alignment import CropSpec
from infant_fer.data.labeled_images import AlignedDataset
from infant_fer.evaluation import mean_maps, plots
from infant_fer.evaluation.predictions import Predictions, RepeatedPredictions
from infant_fer.evaluation.scores import ThesisSpread
from infant_fer.face import LANDMARK_COUNT
from infant_fer.labels import AFFECTS
from infant_fer.regions import PARTS
from infant_fer.training import pretrained as bases
from infant_fer.training import variants as module
from infant_fer.training.action_units import ActionUnitFigures, UnitCorrelations
from infant_fer.training.config import TrainingConfig
from infant_fer.training.experiment import ExperimentResult
from infant_fer.training.provenance import Provenance
from infant_fer.training.reports import artifacts
from infant_fer.training.reports.artifacts import STEPS, report
from infant_fer.training.reports.card import experiment_card
from infant_fer.training.reports.history import Fold
from infant_fer.training.variants import Candidate, compare, variants
from tests.conftest import ROOT
from tests.drawn_data import drawn_face, face_dataset
from tests.training.test_trainer import tiny_vit
from tests.training.test_variants import CONFIG

RUN = Provenance(
    command="python train.py", recipe="iface", base="tiny", data="portraits", labels=list(AFFECTS), split="holdout", crops="aligned",
    split_sha256="0" * 64, counts={name: dict.fromkeys(AFFECTS, 2) for name in ("train", "dev", "test")}, subjects_known=True,
    leaks={}, folds=0, repeats=1, average_folds=False, rendered="", warped="", aux="", teacher=None,
    seed=0, settings=TrainingConfig(), crop=CropSpec(32, 0.2), torch="2", machine="1 core", minutes=1.5,
)  # fmt: skip

KEYS = (
    *(
        "command",
        "recipe",
        "base",
        "data",
        "labels",
        "split",
        "crops",
        "split_sha256",
        "counts",
        "subjects_known",
        "leaks",
        "folds",
    ),
    *("repeats", "rendered", "warped", "aux", "teacher", "seed", "torch", "machine", "minutes"),
)


def faces() -> AlignedDataset:
    return face_dataset(
        np.stack([drawn_face(AFFECTS[n % 3], n, 32) for n in range(6)]), np.zeros((6, 0)), np.eye(3)[np.arange(6) % 3]
    )


def trained(seed: int, right: int, history: list[dict]) -> ExperimentResult:
    """Return a run of a tiny network, with `right` of 6 rows right on dev and on test."""
    truth = np.arange(6) % 3
    answers = np.eye(3)[np.where(np.arange(6) < right, truth, (truth + 1) % 3)] * 0.9 + 0.1 / 3
    measured = Predictions.of(faces().images, answers)
    torch.manual_seed(seed)
    return ExperimentResult(
        base=bases.load_pretrained("random:tiny", AFFECTS, 32),
        predictions={"dev": measured, "test": measured},
        cross_validation=None,
        history=history,
        provenance=RUN,
        baselines={},
        size_curve={},
        held_out={"dev": faces(), "test": faces()},
        images=faces().images,
        splits=np.full(6, "test"),
    )


def epochs(step: str, accuracies: list[float]) -> list[dict]:
    """Return the Trainer's entries of the epochs of one step; train is right 0.1 more often than dev."""
    found = []
    for number, accuracy in enumerate(accuracies, 1):
        for split, more in (("dev", 0.0), ("train", 0.1)):
            scores = {f"eval_{split}_accuracy": accuracy + more, f"eval_{split}_loss": 1 - accuracy - more}
            found.append({"epoch": float(number), "step_of_two": step, **scores})
    return found


def test_a_run_is_recorded_under_the_keys_of_metrics_json():
    found = UnitCorrelations(0.5, (0.25, 0.75), 15, 3, {"AU4": 0.5})
    figures = {"mean correlation": 0.5, "interval95": [0.25, 0.75], "n": 15, "infants": 3, "per unit": {"AU4": 0.5}}
    run = replace(RUN, action_units=ActionUnitFigures(found, found, 45), processor_minutes=2.5)
    candidate = Candidate("seed=0", "dev", metrics.Proportion(5, 6), {"loss": 0.7}, 1.5)
    record = replace(trained(0, 5, []), provenance=run, candidates=[candidate]).record
    assert json.loads(json.dumps(record)) == {
        **{name: getattr(RUN, name) for name in KEYS},
        "average folds": False,
        "settings": asdict(TrainingConfig()),
        "crop": {"size": 32, "margin": 0.2},
        "action units": {"renders": figures, "dev": figures, "train renders": 45},
        "processor minutes": 2.5,
        "compared": {"seed=0": candidate.to_dict()},
    }
    assert set(RUN.to_dict()) == {*KEYS, "average folds", "settings", "crop"}


@pytest.fixture(autouse=True)
def _tiny_shape(monkeypatch):
    monkeypatch.setitem(bases.SHAPES, "tiny", tiny_vit)


def row(page: str, name: str) -> list[str]:
    """Return the cells of a table's row."""
    (cells,) = re.findall(rf'<th scope="row">{re.escape(name)}</th>(.*?)</tr>', page)
    return re.findall(r"<td[^>]*>(.*?)</td>", cells)


@pytest.mark.slow
def test_the_report_has_a_figure_of_each_step_and_a_table_of_the_stages():
    history = epochs("head", [0.3, 0.4]) + epochs("whole", [0.5, 0.7, 0.6])
    page = report("mine", trained(0, 5, history), [])
    for step in ("head", "whole"):
        assert f"<figcaption>{STEPS[step]}. The shaded gap" in page
    assert row(page, "The head alone, its last epoch") == ["2", "0.500", "0.400", "0.500", "0.600"]
    assert row(page, "early: the first epoch")[:3] == ["1", "0.600", "0.500"]
    assert row(page, "the least dev loss")[0] == row(page, "kept (best)")[0] == "2"
    assert row(page, "the last epoch")[0] == "3"
    last = report("mine", replace(trained(0, 5, history), keep="last"), [])
    assert row(last, "kept (last)")[0] == "3"
    alone = report("mine", trained(0, 5, epochs("whole", [0.5, 0.7])), [])
    assert STEPS["head"] not in alone


def averaged(seed: int, right: int, accuracies: list[list[float]], repeats: int = 1) -> ExperimentResult:
    """Return a run that averaged folds of these dev accuracies, each of which has one of three pictures wrong."""
    run = trained(seed, right, [])
    folds = [Fold(epochs("head", [0.2]) + epochs("whole", each), metrics.Proportion(2, 3)) for each in accuracies]
    provenance = replace(RUN, folds=len(folds) // repeats, repeats=repeats, average_folds=True)
    measured = run.predictions["test"]
    wrong = replace(measured, probabilities=np.roll(measured.probabilities, 1, 1))
    return replace(
        run,
        folds=folds,
        provenance=provenance,
        predictions={"test": measured},
        cross_validation=RepeatedPredictions((measured, wrong)[:repeats]),
    )


def test_averaged_folds_have_curves_stages_a_verdict_and_their_spread(monkeypatch, tmp_path):
    drawn, curves = [], plots.learning_curves
    monkeypatch.setattr(plots, "learning_curves", lambda *runs: drawn.append(runs) or curves(*runs))
    result = averaged(0, 5, [[0.5, 0.7, 0.6], [0.9, 0.7], [0.3, 0.5, 0.4], [0.6, 0.7, 0.8]], repeats=2)
    page = report("mine", result, [])
    ((mean, folds),) = drawn  # the head has one epoch, so no curve
    assert [len(run) for run in (mean, *folds)] == [2, 3, 2, 3, 3]
    assert mean[0].dev_accuracy == pytest.approx((0.5 + 0.9 + 0.3 + 0.6) / 4)
    assert "Thick: the mean over 4 folds" in page
    assert row(page, "The head alone, its last epoch")[:3] == ["1", "0.300", "0.200"]
    assert row(page, "early: the first epoch")[:3] == ["1", "0.675", "0.575"]
    assert row(page, "kept (best)")[:3] == ["2", "0.825", "0.725"]  # epochs 2, 1, 2 and 3
    assert row(page, "the last epoch")[:3] == ["2.75", "0.725", "0.625"]
    assert "82 % of train pictures are right and 67 % of the fold&#39;s held-out pictures" in page
    section = page[page.index("<h2>Cross-validation</h2>") :].partition("<h2>Training")[0]
    assert row(section, "repeat 2, fold 1") == row(section, "repeat 1, fold 2") == [metrics.Proportion(2, 3).short]
    assert row(section, "over the 4 folds") == ["66.7 %", "0.0 %", "66.7 %", "66.7 %"]
    assert row(section, "over the 2 repeats") == ["41.7 %", "58.9 %", "0.0 %", "83.3 %"]
    assert "over 50 draws" not in section  # six pictures have no split of 150
    assert "a tenth of the others chose the epoch." in section
    last = report("mine", replace(result, keep="last"), [])
    assert "a tenth of the others was watched and not trained on." in last
    assert "chose the epoch" not in last
    monkeypatch.setattr(artifacts, "check_saved", lambda *_: None)  # the predictions are not the random model's
    artifacts.write_artifacts(replace(result, maps=[]), tmp_path / "mine")
    found = json.loads((tmp_path / "mine" / "metrics.json").read_text())
    assert found["history"] == []
    assert [each["history"] for each in found["folds"]] == [each.history for each in result.folds]
    assert found["folds"][0]["accuracy"]["right"] == 2


def test_the_spread_over_draws_is_in_the_report_where_there_are_enough_pictures():
    result = averaged(0, 5, [[0.5, 0.7], [0.6, 0.7]])
    spread = ThesisSpread(splits=50, test_pictures=25, mean=0.94, deviation=0.053, lowest=0.76, highest=1.0)
    result.__dict__["cross_validation_scores"] = replace(result.cross_validation_scores, spread=spread)
    page = report("mine", result, [])
    assert row(page, "over 50 draws of 25 of these predictions, of whole infants") == [
        "94.0 %",
        "5.3 %",
        "76.0 %",
        "100.0 %",
    ]
    assert "Cross-validation" not in report("mine", trained(0, 5, epochs("whole", [0.5, 0.7])), [])


def test_variants_of_averaged_folds_were_not_compared_on_dev(monkeypatch):
    monkeypatch.setattr(module, "maps_of", lambda result: [])
    runs = iter([averaged(seed, right, [[0.5, 0.6], [0.7, 0.8]]) for seed, right in ((0, 3), (1, 5))])
    monkeypatch.setattr(module, "run", lambda config, log: next(runs))
    monkeypatch.setattr(module, "check", lambda configs: None)
    best, _ = compare(variants(CONFIG, [], "seed=0,1"), log=lambda line: None)
    page, card = report("mine", best, []), experiment_card("mine", best)
    assert "<h2>Compared in cross-validation</h2>" in page
    assert "Compared on dev" not in page
    assert "Dev accuracy of all variants while they learned. Of each, the mean over its folds." in page
    assert "Chosen among variants that were trained alike, compared by their accuracy in cross-validation:" in card
    assert "drawn with seed" not in card
    others = replace(best.candidates[0], pictures=frozenset("ab"))
    best = replace(best, candidates=[others, best.candidates[1]], provenance=replace(best.provenance, split_seed=3))
    card = experiment_card("mine", best)
    assert (
        "in cross-validation. The variants were not compared on the same pictures (seed=0 on 2, seed=1 on 6; " in card
    )
    assert "drawn with seed 3), SHA-256" in card


def check_protocol(page: str) -> None:
    """Check that a report holds the tables and figures of the thesis's protocol where docs/studies.md says."""
    text = (ROOT / "docs" / "studies.md").read_text("utf-8")
    rows = re.findall(r"^\| (table|figure): [^|]+ \| ([^|]+) \| ([^|]+) \|$", text, re.MULTILINE)
    assert [kind for kind, _, _ in rows] == ["table"] * 5 + ["figure"] * 5
    for kind, heading, words in rows:
        section = page[page.index(f"<h2>{heading}</h2>") + 4 :].partition("<h2>")[0]
        blocks = re.findall(
            r"<table>.*?</table>" if kind == "table" else r"<figcaption.*?</figcaption>", section, re.DOTALL
        )
        assert any(words in block for block in blocks), (heading, words)


def test_the_maps_of_all_variants_are_side_by_side_and_their_figures_in_the_card(monkeypatch):
    mesh = np.random.default_rng(0).uniform(4, 28, (LANDMARK_COUNT, 2))
    monkeypatch.setattr(mean_maps, "mesh_in_crop", lambda finder, crop: mesh)
    runs = iter([trained(seed, right, epochs("whole", [0.5, 0.6])) for seed, right in ((0, 3), (1, 5))])
    monkeypatch.setattr(module, "run", lambda config, log: next(runs))
    monkeypatch.setattr(module, "check", lambda configs: None)
    best, candidates = compare(variants(CONFIG, [], "seed=0,1"), log=lambda line: None)
    assert [[(each.affect, each.n) for each in found.maps] for found in candidates] == [[(a, 2) for a in AFFECTS]] * 2
    assert not np.allclose(candidates[0].maps[0].values, candidates[1].maps[0].values)
    page = report("mine", best, list(best.candidates[1].maps))
    check_protocol(page)
    section = page[page.index("Where each variant looks") :].partition("<h2>")[0]
    assert section.count("<img") == 1
    for name in ("seed=0", "seed=1"):
        for each in AFFECTS:
            assert len(row(section, f"{name}, {each}")) == len(PARTS)
    card = experiment_card("mine", best)
    assert "compared by their accuracy on dev:" in card
    head = next(line for line in card.splitlines() if line.startswith("| variant |")).split("|")
    cells = next(line for line in card.splitlines() if line.startswith("| seed=1 |")).split("|")
    assert len(head) == len(cells)
    found = {name.strip(): cell.strip() for name, cell in zip(head, cells, strict=True)}
    assert found["macro precision"] == f"{candidates[1].figures['macro precision']:.3f}"
    assert found["macro recall"] == "0.833"  # 2 of 2, 2 of 2 and 1 of 2


def test_the_card_says_that_p_is_too_small_where_an_infant_has_several_pictures():
    result = trained(0, 5, [])
    measured = result.predictions["test"]
    assert "p is too small" not in experiment_card("mine", replace(result, baselines={"other": measured}))
    pairs = replace(measured, subject=np.array(list("aabbcc")))
    result = replace(result, predictions={"test": pairs}, baselines={"other": pairs})
    assert (
        "- exact McNemar test against other: p = 1. McNemar's test counts the 6 pictures as independent, but they are of "
        "3 infants: p is too small. The intervals are over infants.\n" in experiment_card("mine", result)
    )


def test_the_card_says_whether_infants_are_known_guessed_or_neither():
    result = trained(0, 5, [])
    for changed, words in (
        ({}, "(infants kept apart)"),
        ({"subjects_guessed": True}, "(infants, as guessed from the file names, kept apart)"),
        ({"subjects_known": False}, "(the data do not identify its infants; near-duplicates are kept together)"),
    ):
        assert words in experiment_card("mine", replace(result, provenance=replace(RUN, **changed)))
