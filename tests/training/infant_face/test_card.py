"""What a released checkpoint says of itself: its card, its figures, its recipe."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from infant_fer import metrics
from infant_fer.audit.effects import CAUTION, Audit
from infant_fer.audit.report import with_audit
from infant_fer.errors import OutputError
from infant_fer.evaluation.map_report import RECORD, with_maps
from infant_fer.labels import AFFECTS
from infant_fer.metrics import INTERVALS
from infant_fer.models.infant_face import InfantFaceConfig, InfantFaceModel
from infant_fer.training.infant_face import artifacts
from infant_fer.training.infant_face.artifacts import RunRecord, RunResult, save
from infant_fer.training.infant_face.config import RunConfig, expected_time, recipe
from infant_fer.training.infant_face.figures import THIS, InfantFaceFigures
from infant_fer.training.infant_face.goals import GOALS, HEADING, goals_section, outcomes_of, with_goals
from infant_fer.training.reports import card as model_card
from infant_fer.training.reports.card import earlier_test_measurements, infant_face_card
from infant_fer.trust.report import with_trust
from infant_fer.trust.store import TrustData, known
from tests.conftest import ROOT
from tests.training.test_report import RUN

FIGURES = ("metrics.json", "audit.json")
CHECKPOINTS = [file.parent for file in sorted((ROOT / "checkpoints").glob("*/metrics.json"))]


def results() -> dict:
    """Invented figures in the form of a metrics.json."""
    share = metrics.Proportion(47, 50).to_dict()
    accuracy = {
        "this checkpoint": {"web": share, "all": share},
        "image stream alone": {"web": share, "all": metrics.Proportion(46, 50).to_dict()},
        "majority class": {"web": metrics.Proportion(20, 50).to_dict(), "all": share},
        "most alike train face": {"web": share, "all": share},
    }
    figures = {"accuracy": accuracy, "recall": {"neutral faces": share}, "heads": {"balanced accuracy": 0.93}}
    run = {
        "command": "python train.py --recipe infant_face",
        "seed": 0,
        "minutes": [70.0, 71.0],
        "machine": "two cores",
        "torch": "2",
        "learning": json.loads(json.dumps(asdict(recipe("pair")))),
        "test measurements": 7,
    }
    others = {"emotions of FER2013": share, "McNemar p": {"this checkpoint": 1.0, "majority class": 0.001}}
    return {"test": {**figures, **others}, "run": run}


def invented() -> RunResult:
    """Invented figures as a run returns them."""
    share = metrics.Proportion(47, 50)
    by_source = {THIS: {"web": share, "all": share}}
    figures = InfantFaceFigures(by_source, {}, {"balanced accuracy": 0.93}, share, share, share, share, {})
    config = RunConfig(Path("data"), Path("final"), Path("cache"), learning=recipe("pair"), command="python train.py")
    return RunResult({"dev": figures, "test": figures}, RunRecord.of(config, [70.04, 71.0]))


@pytest.mark.parametrize("folder", CHECKPOINTS, ids=lambda folder: folder.name)
def test_a_run_is_recorded_under_the_keys_of_the_embedded_checkpoints(folder):
    stored = json.loads((folder / "metrics.json").read_text("utf-8"))
    plain = json.loads(json.dumps(invented().to_dict()))
    assert list(plain) == list(stored)
    assert list(plain["test"]) == list(stored["test"])
    assert [name for name in plain["run"] if name != "teacher share"] == list(stored["run"])
    assert plain["test"]["accuracy"][THIS]["all"] == metrics.Proportion(47, 50).to_dict()
    assert plain["run"]["minutes"] == [70.0, 71.0]


def test_the_card_says_how_many_and_how_sure():
    card = infant_face_card("net & co", results())
    for needed in ("94.0 % (84–98)", "web (n = 50)", "40.0 %", "Not a medical device", "research and teaching only"):
        assert needed in card
    assert card.startswith("---\n")
    assert "model-index" in card.split("---")[1]
    assert "# net & co\n" in card  # Markdown is not escaped as HTML is
    assert "python train.py --recipe infant_face" in card
    assert "(70 and 71 minutes for the networks)" in card
    assert "47 of 50 are right with it, 46 without" in card
    assert INTERVALS in card
    assert "train face whose 16 px thumbnail correlates most" in card
    assert "p = 0.001" in card


def test_the_card_names_the_files_that_the_emotions_were_measured_on():
    measured = results()
    assert "FER2013, seven emotions, the archive's PrivateTest: 94.0 %" in infant_face_card("net", measured)
    measured["test"]["votes of FER+"] = metrics.Proportion(40, 50).to_dict()
    card = infant_face_card("net", measured)
    assert "FER2013, seven emotions, files that FER+ lists as PrivateTest: 94.0 %" in card
    measured["dev"] = measured.pop("test")
    assert "files that FER+ lists as PublicTest" in infant_face_card("net", measured)


def test_the_card_says_what_share_of_a_target_was_the_teachers():
    run = {"learning": json.loads(json.dumps(asdict(recipe("mobile")))), "teacher": "infant-fer-small"}
    mobile = results()
    mobile["run"] |= run
    assert "targets of which 50 % was that checkpoint's answer" in infant_face_card("net", mobile)
    mobile["run"]["teacher share"] = 0.3
    assert "targets of which 30 % was" in infant_face_card("net", mobile)


def test_the_card_counts_what_is_in_several_splits_not_pairs():
    said = model_card._separation(replace(RUN, leaks={"same infant": 3, "same file": 0}))
    assert "not apart" in said
    assert "the same infant 3 times" in said
    assert "pairs" not in said
    assert "same file" not in said


def test_the_card_says_how_often_the_test_rows_were_measured():
    card = infant_face_card("net", results())
    assert "this is measurement 7 on them" in card
    rows = [line for line in card.splitlines() if line.endswith(" of 465 |")]
    assert len(rows) == 6  # those before
    assert rows[0] == "| 1 | 2026-11-23 | first release | 424 of 465 |"
    assert "| 7 | | **this checkpoint** | 47 of 50 |" in card
    untested = results()
    untested["dev"] = untested.pop("test")
    untested["run"]["test measurements"] = None
    card = infant_face_card("net", untested)
    assert "test rows were not measured" in card
    assert "Figures on the dev rows" in card
    first = results()
    first["run"]["test measurements"] = 1
    assert "for the first time" in infant_face_card("net", first)


@pytest.mark.parametrize("folder", CHECKPOINTS, ids=lambda folder: folder.name)
def test_an_embedded_card_is_that_of_its_figures(folder):
    figures = json.loads((folder / "metrics.json").read_text("utf-8"))
    assert 1 <= figures["run"]["test measurements"] <= earlier_test_measurements()  # the row of its release
    assert earlier_test_measurements() >= 11
    audit = json.loads((folder / "audit.json").read_text("utf-8"))
    new, stored = infant_face_card(folder.name, figures, audit), (folder / "README.md").read_text("utf-8")
    heading = "## Data and licence\n"
    assert stored.partition(heading)[2] == new.partition(heading)[2]
    assert stored.startswith(new.partition(heading)[0])  # the sections of its trust data and audit are between the two
    fingerprint = json.loads((folder / "trust.json").read_text("utf-8"))["fingerprint"]
    assert with_trust(stored, known(TrustData.load(folder, fingerprint))) == stored
    assert with_goals(stored, figures, audit) == stored
    assert audit["caution"] == CAUTION
    assert with_audit(stored, Audit.from_dict(audit)) == stored
    assert with_maps(stored, json.loads((folder / RECORD).read_text("utf-8"))) == stored
    assert all(outcome.reached is not None for outcome in outcomes_of(figures, audit))


def rows_of(section: str) -> dict[str, list[str]]:
    """Return the cells behind the first of every row of a section's table."""
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return {cells[0]: cells[1:] for cells in rows}


def test_the_card_compares_every_figure_with_its_goal():
    """A goal that is kept exactly is reached; above a limit that holds from below, or without a figure, it is not."""
    good, bad = metrics.Proportion(191, 200).to_dict(), metrics.Proportion(190, 200).to_dict()
    small = results()
    small["run"] |= {"learning": json.loads(json.dumps(asdict(recipe("small")))), "start_from": None}
    small["test"]["accuracy"]["this checkpoint"] = {"all": good, "web": bad}
    small["test"]["recall"] = {f"{name} faces": metrics.Proportion(1, 2).to_dict() for name in AFFECTS}
    small["test"]["heads"] = {"negative log-likelihood": 0.1501, "balanced accuracy": 0.955}
    small["dev"] = {"negative answered positive above 0.9": metrics.Proportion(1, 132).to_dict()}
    levels = [{"level": "dark", "flips": metrics.Proportion(6, 100).to_dict()}, {"level": "tan"}]
    audit = {"factors": [{"factor": "skin tone", "levels": levels}]}
    section = goals_section(small, audit)
    rows = rows_of(section)
    assert rows["three affects, all"] == ["≥ 95.5 %", "95.5 % (92–98), n = 200", "reached"]
    assert rows["three affects, web"] == ["≥ 95.5 %", "95.0 % (91–97), n = 200", "**not reached**"]
    assert rows["three affects, utkface"] == ["≥ 96.5 %", "–", "not measured"]
    assert rows["balanced accuracy"] == ["≥ 0.955", "0.955, n = 6", "reached"]
    assert rows["negative log-likelihood"] == ["≤ 0.150", "0.150, n = 6", "**not reached**"]
    assert rows["negative called positive above 0.9, dev rows"][::2] == ["0 %", "**not reached**"]
    assert rows["label flips on renders, dark skin"][-1] == "reached"
    assert rows["label flips on renders, pacifier"] == ["≤ 25 %", "–", "not measured"]
    assert (
        f"4 of {len(GOALS)} are reached. Not reached: three affects, web; negative log-likelihood; negative called"
        in section
    )
    assert "none was set" not in section
    assert "Quiet negatives" not in section
    assert section in infant_face_card("net", small, audit)


def test_a_variant_without_a_goal_is_compared_with_the_default():
    vit = results()
    vit["run"]["learning"] = json.loads(json.dumps(asdict(recipe("vit"))))
    vit["dev"] = {"quiet negatives": metrics.Proportion(31, 39).to_dict()}
    vit["test"]["quiet negatives"] = metrics.Proportion(60, 67).to_dict()
    section = goals_section(vit)
    rows = rows_of(section)
    assert rows["three affects, all"][0] == "≥ 94.5 %"
    assert rows["newborns"][0] == "≥ 95 % (small)"
    assert "none was set for this checkpoint" in section
    assert "85.8 % (91 of 106; dev 79.5 % (64–89), n = 39; test 89.6 % (80–95), n = 67)" in section


def test_the_results_compare_the_embedded_checkpoints_with_the_same_goals():
    results_page = (ROOT / "docs" / "results.md").read_text("utf-8")
    rows = rows_of(results_page.partition(HEADING)[2].partition("\n## ")[0])
    for column, folder in enumerate(("infant-fer-small", "infant-fer-vit", "infant-fer-mobile"), start=1):
        stored = [json.loads((ROOT / "checkpoints" / folder / file).read_text("utf-8")) for file in FIGURES]
        for each in outcomes_of(*stored):
            assert rows[each.name][column] == (each.found if each.reached else f"**{each.found}**"), (folder, each.name)


def test_an_audit_renews_the_goals_of_a_card():
    audit = {
        "factors": [
            {"factor": "occluder", "levels": [{"level": "pacifier", "flips": metrics.Proportion(1, 5).to_dict()}]}
        ]
    }
    before = infant_face_card("net", results())
    assert "label flips on renders, pacifier | ≤ 25 % (small) | –" in before
    assert with_goals(before, results(), audit) == infant_face_card("net", results(), audit)


def test_a_save_that_fails_keeps_the_old_checkpoint_and_leaves_no_half_new_one(tmp_path, monkeypatch):
    model = InfantFaceModel(InfantFaceConfig(stem_width=8, widths=(8, 16, 32), geometry_size=6))

    def full(*_):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(artifacts, "infant_face_card", full)
        with pytest.raises(OutputError, match="disk full"):
            save(model, invented(), tmp_path / "final")
    assert not list(tmp_path.iterdir())
    save(model, invented(), tmp_path / "final")
    before = {path.name: path.read_bytes() for path in (tmp_path / "final").iterdir()}
    assert set(before) == {"config.json", "model.safetensors", "preprocessor_config.json", "README.md", "metrics.json"}
    assert json.loads(before["metrics.json"])["test"]["accuracy"]["this checkpoint"]["web"]["n"] == 50
    monkeypatch.setattr(artifacts, "infant_face_card", full)
    with pytest.raises(OutputError, match="disk full"):
        save(model, invented(), tmp_path / "final")
    assert {path.name: path.read_bytes() for path in (tmp_path / "final").iterdir()} == before


def test_the_recipe_is_that_of_the_embedded_checkpoint():
    """A pair released before the recipe had variants has the settings of then; later ones have defaults that change nothing."""
    run = json.loads((ROOT / "checkpoints/infant-fer-small/metrics.json").read_text("utf-8"))["run"]["learning"]
    if isinstance(run["members"], list):
        run["occluders"] = run.pop("covers", run.get("occluders"))
        for member in run["members"]:
            member.setdefault("input_side", None)
            for settings in filter(None, (member["fine_tuning"], member["refinement"])):
                settings.setdefault("taught_adults", 0.0)
        assert run == json.loads(json.dumps(asdict(recipe("small"))))
        return
    now = json.loads(json.dumps(asdict(recipe("pair"))))
    assert run["members"] == len(now["members"])
    assert run["geometry"] == now["geometry"]
    for member in now["members"]:
        assert run["fine_tuning"].items() <= member["fine_tuning"].items()
        for stored, current in zip(run["pretraining"], member["pretraining"], strict=True):
            assert stored.items() <= current.items()


def test_the_card_names_families_bases_and_teacher():
    learned = {**asdict(recipe("small")), "student": None}
    small = results()
    small["run"] |= {"learning": json.loads(json.dumps(learned)), "start_from": "infant-fer-pair", "teacher": None}
    card = " ".join(infant_face_card("net", small).split())
    for needed in (
        "mean of 2 convolution-transformers and 1 MobileNet-v1 (families count alike)",
        "`faceres-mobilenet`: MobileNet-v1 1.0",
        "taken from an earlier checkpoint, `infant-fer-pair`",
        "(141 minutes for all networks, those of `infant-fer-pair` included)",
        "Then the convolution-transformers went on for some epochs",
        "50 % was the answer of all networks to the unchanged face, the rest the raters'",
        "336 training pictures equal an official test picture",
        "rendered object before the mouth",
        "--variant small --data RESEARCH_DATA --output checkpoints/NAME` trains all of them from nothing",
        f"expect {expected_time()}. Run once, in five starts with `--resume`, it remade infant-fer-small within its intervals",
    ):
        assert needed in card
    assert "DINOv2" not in card
    vit = results()
    vit["run"] |= {
        "learning": json.loads(json.dumps(asdict(recipe("vit")))),
        "start_from": None,
        "teacher": "infant-fer-small",
    }
    card = " ".join(infant_face_card("net", vit).split())
    assert "50 % was the answer of `infant-fer-small` to the unchanged face, the rest the raters'" in card
    assert "narrower copy" not in card
    assert "from nothing" not in card
    assert "The image stream is 1 DINOv2 ViT-S/14, with" in card
    assert "Apache-2.0" in card
    assert "336 training pictures" not in card
    mobile = results()
    mobile["run"] |= {"learning": json.loads(json.dumps(asdict(recipe("mobile")))), "teacher": "infant-fer-small"}
    card = " ".join(infant_face_card("net", mobile).split())
    assert "a narrower copy of a MobileNet of `infant-fer-small`" in card
    assert "half precision" in card
