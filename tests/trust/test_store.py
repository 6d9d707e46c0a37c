"""Trust data: fitted, kept with the checkpoint, read back exactly, and refused when they are damaged or another's."""

import json
from dataclasses import replace
from math import nan

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from infant_fer.classifier import AffectClassifier, Prediction
from infant_fer.data.labeled_images import UNKNOWN
from infant_fer.errors import CheckpointError
from infant_fer.labels import AFFECTS
from infant_fer.locales import translator
from infant_fer.metrics import Proportion
from infant_fer.models.features import fingerprint
from infant_fer.report_html import answer_html, live_html
from infant_fer.trust.assessment import DISTANCE_WORDS, Assessment
from infant_fer.trust.distance import KINDS
from infant_fer.trust.figures import GroupFigures, Separation, TrustFigures
from infant_fer.trust.gate import assess
from infant_fer.trust.measurement import _without, trust_figures
from infant_fer.trust.outputs import FaceOutputs
from infant_fer.trust.report import trust_text
from infant_fer.trust.store import RISK, SETTINGS, TENSORS, TrustData, TrustRows, doubt_limit
from tests.conftest import EXAMPLES, ROOT
from tests.tiny_checkpoints import save_tiny


def outputs(n: int, seed: int, shift: float = 0.0, **changed) -> FaceOutputs:
    """Return outputs whose probabilities are honest, and whose features show the true class and a shift."""
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet((0.3, 0.3, 0.3), n)
    truth = np.array([random.choice(3, p=each) for each in probabilities])
    features = random.normal(size=(n, 8)) + shift
    features[np.arange(n), truth] += 4
    columns = {
        "probabilities": probabilities,
        "truth": truth,
        "votes": probabilities,
        "subject": np.arange(n).astype(str),
        "subgroups": {"source": np.full(n, "web")},
        "features": features.astype(np.float32),
        "usable": None,
        "mouth_covered": None,
        "disagreement": random.random(n),
    }
    return FaceOutputs(**{**columns, **changed})


@pytest.fixture(scope="module")
def fitted() -> TrustData:
    others = [outputs(100, seed, shift=3.0) for seed in (2, 3)]
    return TrustData.fit("0123", TrustRows(outputs(400, 0), outputs(300, 1), *others))


def prediction(*shares: float, features: np.ndarray | None = None, **heads) -> Prediction:
    probabilities = dict(zip(AFFECTS, shares, strict=True))
    return Prediction(max(probabilities, key=probabilities.get), probabilities, features=features, **heads)


def test_what_is_saved_is_read_back(fitted, tmp_path):
    fitted.save(tmp_path)
    loaded = TrustData.load(tmp_path, "0123")
    assert (loaded.reliability, loaded.sets, loaded.limits) == (fitted.reliability, fitted.sets, fitted.limits)
    assert loaded.agreement == fitted.agreement
    new = outputs(20, 9).features
    np.testing.assert_allclose(loaded.distance.of(new), fitted.distance.of(new), rtol=1e-5)
    np.testing.assert_allclose(loaded.probe.of(new), fitted.probe.of(new), rtol=1e-6)
    assert TrustData.load(tmp_path / "nowhere", "0123") is None


@pytest.mark.parametrize("file", sorted((ROOT / "checkpoints").glob("*/trust.json")), ids=lambda file: file.parent.name)
def test_stored_figures_are_read_and_written_key_for_key(file):
    stored = json.loads(file.read_text("utf-8"))["figures"]
    read = {split: TrustFigures.from_dict(plain) for split, plain in stored.items()}
    assert read["dev"].out_of_distribution["adults"].scores["usable head"].auroc > 0.99
    assert read["test"].out_of_distribution is None
    assert json.dumps({split: each.to_dict() for split, each in read.items()}) == json.dumps(stored)


def test_trust_data_of_other_weights_are_refused(fitted, tmp_path):
    folder = save_tiny(tmp_path / "tiny")
    assert AffectClassifier.from_pretrained(folder).trust is None
    fitted.save(folder)
    with pytest.raises(CheckpointError, match="belongs to other weights"):
        AffectClassifier.from_pretrained(folder)
    mine = fingerprint(AffectClassifier.from_pretrained(save_tiny(tmp_path / "same"))._model)
    replace(fitted, fingerprint=mine, distance=None, distance_quantiles=None, probe=None).save(folder)
    assert AffectClassifier.from_pretrained(folder).trust.limits == fitted.limits


def test_trust_data_of_other_features_are_refused_when_the_checkpoint_is_loaded(fitted, tmp_path):
    """Each file is sound by itself; the model has 32 features, not 8."""
    folder = save_tiny(tmp_path)
    mine = fingerprint(AffectClassifier.from_pretrained(folder)._model)
    for damaged in (replace(fitted, probe=None), replace(fitted, distance=None, distance_quantiles=None)):
        replace(damaged, fingerprint=mine).save(folder)
        with pytest.raises(CheckpointError, match="its files do not fit together"):
            AffectClassifier.from_pretrained(folder)


def test_figures_without_an_error_are_json_and_a_dash():
    right = outputs(40, 3, probabilities=np.eye(3)[outputs(40, 3).truth])
    found = trust_figures([Assessment("answer", AFFECTS)] * 40, right)
    found = replace(
        found, out_of_distribution={"cats": GroupFigures(Proportion(0, 2), {"probe": Separation(nan, nan)})}
    )
    stored = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert stored["AUROC for errors"]["doubt"] is None
    assert json.dumps(TrustFigures.from_dict(stored).to_dict()) == json.dumps(stored)
    assert "nan" not in trust_text({"dev": found})
    assert "  cats | – / – % | 0.0 %" in trust_text({"dev": found})


@pytest.mark.parametrize(
    "damage",
    [
        {"version": 99},
        {"limits": {"doubt": "much"}},
        {"limits": {"doubt": 0.1, "unknown": 1.0}},
        {"agreement": [float("nan"), 0]},
        {"agreement": [1.0]},
        {"reliability": {"positive": []}},
        {"reliability": {"positive": [[0.0, 3, 2]]}},
        {"reliability": {"positive": [[0.0, 1, 10**30]]}},
        {"reliability": {"positive": [[float("nan"), 1, 2]]}},
        {"reliability": {"positive": [[0.0, 1, 2], [0.9, 1, 2], [0.8, 1, 2]]}},
        {"prediction_sets": {"thresholds": {"positive": 0.1}, "coverage": 0.95}},
        {"distance": {"kind": "taxi", "quantiles": [0.0] * 101, "rest": {"classes": 1.0}}},
        {"distance": {"kind": "mahalanobis", "quantiles": [0.0] * 3, "rest": {"classes": 1.0}}},
        {"distance": {"kind": "mahalanobis", "quantiles": [0.0] * 101, "rest": {"classes": 0}}},
        {"figures": 3},
        {"figures": {"dev": {"n": 3}}},
        {"prediction_sets": {"thresholds": dict.fromkeys(AFFECTS, 10**400), "coverage": 0.95}},
        {"distance": {"kind": "relative mahalanobis", "quantiles": [0.0] * 101, "rest": {"classes": 1.0}}},
    ],
)
def test_damaged_settings_are_one_clear_error(fitted, tmp_path, damage):
    fitted.save(tmp_path)
    settings = json.loads((tmp_path / SETTINGS).read_text())
    (tmp_path / SETTINGS).write_text(json.dumps({**settings, **damage}))
    with pytest.raises(CheckpointError, match=r"trust\.json"):
        TrustData.load(tmp_path, "0123")


def test_a_distance_that_the_checkpoint_cannot_have_is_refused():
    train, dev = outputs(40, 0), outputs(30, 1)
    bare = TrustRows(replace(train, features=None), replace(dev, features=None), distance="mahalanobis")
    with pytest.raises(CheckpointError, match="shows no features, so it has no mahalanobis distance"):
        TrustData.fit("0123", bare)


def test_damaged_tensors_are_one_clear_error(fitted, tmp_path):
    fitted.save(tmp_path)
    good = load_file(tmp_path / TENSORS)
    for name, values in (
        ("classes.means", np.zeros((3, 5), np.float32)),
        ("classes.variances", np.full(8, np.inf, np.float32)),
        ("probe", np.zeros(8, np.float64)),
    ):
        save_file({**good, name: values}, tmp_path / TENSORS)
        with pytest.raises(CheckpointError, match="damaged"):
            TrustData.load(tmp_path, "0123")
    (tmp_path / TENSORS).write_bytes(b"no tensors")
    with pytest.raises(CheckpointError, match="damaged"):
        TrustData.load(tmp_path, "0123")


def test_the_limit_of_doubt_keeps_the_stated_risk():
    doubt = np.arange(1000) / 1000
    right = np.ones(1000, bool)
    right[500::10] = False  # from 0.5 on every tenth is wrong
    limit = doubt_limit(doubt, right)
    answered = doubt <= limit
    assert (~right[answered]).mean() <= RISK < (~right[doubt <= limit + 0.011]).mean()
    assert doubt_limit(doubt, np.zeros(1000, bool)) == -1


def test_equally_doubtful_answers_are_below_the_limit_together():
    """Half of the faces at 0.2 are wrong; a limit of 0.2 lets all of them pass."""
    doubt, right = np.repeat([0.1, 0.2], 50), np.arange(100) % 2 == 0
    right[:50] = True
    assert doubt_limit(doubt, right) == 0.1
    assert doubt_limit(doubt[50:], right[50:]) == -1


def test_a_sure_face_like_the_training_faces_gets_an_answer_and_others_a_reason(fitted):
    like = np.zeros(8, np.float32)
    like[0] = 4
    sure = assess(prediction(0.998, 0.001, 0.001, features=like, disagreement=0.1), (), fitted)
    assert (sure.verdict, sure.prediction_set, sure.reasons) == ("answer", ("positive",), ())
    assert sure.calibrated["label"] == "positive"
    assert sure.agreement > 0.75
    assert sure.distance < 0.9
    far = assess(prediction(0.998, 0.001, 0.001, features=like + 20, disagreement=0.1), (), fitted)
    assert {"unlike_training", "not_infant"} <= {reason.code for reason in far.reasons}
    assert (far.verdict, far.distance) == ("cannot say", 1.0)
    torn = assess(prediction(0.02, 0.50, 0.48, features=like, disagreement=0.1), (), fitted)
    assert torn.prediction_set == ("neutral", "negative")
    assert {"near_tie", "labels_differ"} <= {reason.code for reason in torn.reasons}


@pytest.mark.parametrize("kind", KINDS)
def test_live_and_the_answer_name_the_distance_that_was_chosen(kind, tmp_path, analyzer):
    rows = TrustRows(outputs(400, 0), outputs(300, 1), distance=kind)
    fitted = TrustData.fit("0123", rows)
    assert fitted.distance.kind == _without(rows, np.arange(300) > 60).distance == kind
    found = assess(prediction(0.998, 0.001, 0.001, features=np.zeros(8, np.float32)), (), fitted)
    assert found.to_dict()["distance_kind"] == kind
    report = analyzer.analyze(EXAMPLES / "smile.jpg")
    face = replace(report.faces[0], assessment=found)
    course = {"label": "positive", "chart": "", "seconds": 30, "recorded": None, "recording": ""}
    for language in ("en", "de"):
        words = translator(language)(DISTANCE_WORDS[kind])
        assert f'title="{words}"' in live_html(face, face.prediction.probabilities, (), language, **course)
        assert f'title="{words}"' in answer_html(replace(report, faces=(face,)), 1, language)


def test_the_limit_of_the_usable_head_is_that_of_the_checkpoint():
    random = np.random.default_rng(5)
    usable = 0.9 + 0.1 * random.random(300)
    trust = TrustData.fit("0123", TrustRows(outputs(400, 0), outputs(300, 1, usable=usable)))
    assert trust.limits.infant == pytest.approx(np.quantile(usable, 0.02))
    assert trust.probe is None
    sure = prediction(0.998, 0.001, 0.001, usable=0.89)
    assert [reason.code for reason in assess(sure, (), trust).reasons] == ["not_infant"]
    assert assess(replace(sure, usable=0.95), (), trust).verdict == "answer"


def test_doubt_above_the_limit_asks_for_caution(fitted):
    like = np.zeros(8, np.float32)
    like[0] = 4
    sure = prediction(0.998, 0.001, 0.001, features=like, disagreement=0.1)
    for limit, codes in ((sure.doubt + 0.001, []), (sure.doubt - 0.001, ["near_tie"])):
        trust = replace(fitted, limits=replace(fitted.limits, doubt=limit))
        assert [reason.code for reason in assess(sure, (), trust).reasons] == codes


def test_an_unsteady_answer_is_given_with_caution(fitted):
    like = np.zeros(8, np.float32)
    like[0] = 4
    sure = prediction(0.998, 0.001, 0.001, features=like, disagreement=0.1)
    for same, verdict in ((32, "answer"), (20, "caution")):
        found = assess(sure, (), fitted, {"same": same, "n": 32})
        assert (found.verdict, found.steadiness) == (verdict, {"same": same, "n": 32})
    assert "20 of 32" in found.reasons[0].text


def test_without_features_or_labels_only_what_can_be_fitted_is():
    plain = TrustData.fit("0123", TrustRows(outputs(50, 0, features=None), outputs(200, 1, features=None)))
    assert plain.distance is None
    assert assess(prediction(0.998, 0.001, 0.001), (), plain).distance is None
    with pytest.raises(CheckpointError, match="held-out faces"):
        TrustData.fit("0123", TrustRows(outputs(50, 0), outputs(20, 1, truth=np.full(20, UNKNOWN))))


def test_the_files_of_two_fits_are_not_taken_together(fitted, tmp_path):
    """As a fit leaves them that is killed between its two files."""
    for name in ("before", "after"):
        (tmp_path / name).mkdir()
    fitted.save(tmp_path / "before")
    others = [outputs(100, seed, shift=2.0) for seed in (2, 3)]
    TrustData.fit("0123", TrustRows(outputs(400, 5), outputs(300, 6), *others)).save(tmp_path / "after")
    (tmp_path / "after" / TENSORS).replace(tmp_path / "before" / TENSORS)
    with pytest.raises(CheckpointError, match="the two files are of different fits"):
        TrustData.load(tmp_path / "before", "0123")
