"""The recipe infant_face on drawn pictures: what it learns, what must not leak, what it leaves behind."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from infant_fer.alignment import CropSpec, align_face
from infant_fer.classifier import AffectClassifier
from infant_fer.data.labeled_images import AlignedDataset
from infant_fer.errors import DatasetError, TrainingError
from infant_fer.face import BLENDSHAPE_COUNT
from infant_fer.face_detection import FaceDetector
from infant_fer.images import load_image
from infant_fer.labels import AFFECTS, AGE_GROUPS, EMOTIONS
from infant_fer.models.geometry import EDGES, POINTS, geometry_features
from infant_fer.models.infant_face import InfantFaceConfig, InfantFaceModel
from infant_fer.training.config import run_folder
from infant_fer.training.infant_face import run as recipe_run
from infant_fer.training.infant_face.artifacts import RunResult, save
from infant_fer.training.infant_face.config import (
    FinetuningConfig,
    GeometryConfig,
    MemberConfig,
    PretrainingConfig,
    RecipeConfig,
    RunConfig,
    StudentConfig,
    recipe,
)
from infant_fer.training.infant_face.data import FaceBatch, load, outputs, read_fer2013, read_infants, read_older
from infant_fer.training.infant_face.finetuning import _row_weights as row_weights
from infant_fer.training.infant_face.finetuning import train_geometry
from infant_fer.training.infant_face.run import train_members
from infant_fer.training.infant_face.steps import TrainingContext
from tests.drawn_data import (
    EXAMPLES,
    drawn_face,
    face_dataset,
    infant_rows,
    named_pictures,
    noisy_faces,
    older_faces,
    store_faces,
    write_table,
)

pytestmark = pytest.mark.slow

GEOMETRY_SIZE = BLENDSHAPE_COUNT + 2 * len(POINTS) + len(EDGES) + 2


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- learning ---------------------------------------------------------------------------------------------------------


def drawn_faces(count: int = 16, geometry_size: int = 12) -> AlignedDataset:
    """Drawn faces whose first geometry features encode the affect too."""
    classes = np.arange(count) % 3
    affect = np.eye(3)[classes]
    geometry = torch.randn(count, geometry_size, generator=seeded()).numpy() * 0.1
    geometry[:, :3] += affect
    return face_dataset(
        np.stack([drawn_face(AFFECTS[index], n) for n, index in enumerate(classes)]),
        geometry,
        affect,
        emotion=np.eye(7)[[EMOTIONS.index(("happy", "neutral", "sad")[index]) for index in classes]],
        valence_arousal=np.stack([1.0 - classes, np.full(count, 0.5)], 1),
        age=np.full(count, AGE_GROUPS.index("baby")),
        usable=np.ones(count),
        eyes_closed=np.zeros(count),
        mouth_covered=np.zeros(count),
    )


def new_model(seed: int = 7) -> InfantFaceModel:
    torch.manual_seed(seed)
    return InfantFaceModel(InfantFaceConfig(stem_width=8, widths=(8, 16, 32), blocks_per_stage=1, geometry_size=12))


def test_the_geometry_stream_learns_from_found_faces_alone():
    faces = drawn_faces(48)
    twice = faces.rows(np.tile(np.arange(48), 2))
    misleading = np.concatenate([faces.geometry, np.roll(faces.geometry, 1, 0)])
    both = replace(twice, geometry=misleading, found=np.arange(96) < 48)
    model = new_model()
    train_geometry(model, both, GeometryConfig(epochs=40, batch=16, learning_rate=1e-2, weight_decay=0.01))
    answer = outputs(model, faces)
    assert answer.geometry_logits.argmax(1).tolist() == faces.images.truth.tolist()
    torch.testing.assert_close(model.geometry.mean, torch.from_numpy(faces.geometry.mean(0)))


def test_a_class_nine_times_rarer_is_drawn_three_times_as_often():
    affect = np.eye(3, dtype=np.float32)[[0] * 9 + [1] * 9 + [2]]
    weights = row_weights(FaceBatch.of(drawn_faces(19).with_target(affect)), FinetuningConfig())
    assert weights.sum() == pytest.approx(1)
    assert weights[-1] / weights[0] == pytest.approx(3, rel=1e-4)


# --- a whole run ------------------------------------------------------------------------------------------------------


def store(folder: Path, read, crops: np.ndarray, geometry: np.ndarray) -> None:
    """Put faces into the cache as if they had been found."""
    store_faces(read(folder), folder / "cache", crops, geometry, adults=read is not read_infants)


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory) -> Path:
    """Drawn data of all three sets. A train infant is a darkened, mirrored copy of a dev one; FER2013's train split holds
    a dev infant and such a copy of a test one.
    """
    folder, random = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    rows = infant_rows(["train"] * 18 + ["dev"] * 9 + ["test"] * 9)
    crops = noisy_faces(rows, random)
    crops[4] = crops[22][:, ::-1] * 0.8
    rows[20]["file"] = "fer2013/train/fear/dev.jpg"
    rows[0] |= {"affect": "unusable", "p_positive": 0}
    named_pictures(folder / "infants.zip", [row["file"] for row in rows if row["file"].startswith("infants/")])
    older_faces(folder, 24)
    fer = [
        f"fer2013/{split}/{emotion}/{n}.jpg"
        for split in ("private_test", "public_test", "train")
        for emotion in EMOTIONS
        for n in "12"
    ]
    fer += ["fer2013/train/fear/dev.jpg", "fer2013/train/sad/copy.jpg"]
    named_pictures(folder / "fer2013.zip", fer)
    write_table(folder, rows)
    geometry = np.stack([random.normal(size=GEOMETRY_SIZE) for _ in crops])
    store(folder, read_infants, crops, geometry)
    store(
        folder, read_older, random.integers(0, 255, (48, 96, 96, 3), np.uint8), random.normal(size=(48, GEOMETRY_SIZE))
    )
    strangers = {name: random.integers(0, 255, (96, 96, 3), np.uint8) for name in fer}
    # The dev infant keeps a stranger's look, so only its name identifies it; the copy is known by its looks alone.
    strangers["fer2013/train/sad/copy.jpg"] = (crops[30][:, ::-1] * 0.8).astype(np.uint8)
    store(
        folder, read_fer2013, np.stack([strangers[name] for name in sorted(fer)]), np.zeros((len(fer), GEOMETRY_SIZE))
    )
    return folder


SHORT = FinetuningConfig(epochs=1, infants=8, older=4, emotions=4, mild=0.25)
ROUNDS = (PretrainingConfig(((1, 64), (1, 96)), batch=8), PretrainingConfig(((1, 64),), mild=0.5, batch=8))
MEMBER = MemberConfig("conv_transformer", ROUNDS, SHORT)
LEARNING = RecipeConfig((MEMBER, MEMBER), GeometryConfig(epochs=2, batch=8))


def small_run(folder: Path, name: str, learning: RecipeConfig = LEARNING, **settings) -> RunConfig:
    return RunConfig(
        data=folder,
        output=folder / name,
        cache=folder / "cache",
        runs=folder / "runs",
        learning=learning,
        command="python train.py --recipe infant_face",
        **settings,
    )


def test_no_copy_of_a_held_out_infant_is_learned_from(data_folder):
    data = load(data_folder, data_folder / "cache", log=lambda _: None)
    assert np.flatnonzero(data.infants_kept).tolist() == [row for row in range(18) if row != 4]
    kept = {name for name, keep in zip(data.fer.images.members, data.fer_kept, strict=True) if keep}
    assert kept == {name for name in data.fer.images.members if "/train/" in name and Path(name).stem in "12"}


@pytest.fixture(scope="module")
def finished(data_folder) -> tuple[Path, RunResult]:
    config = small_run(data_folder, "finished")
    return config.output, recipe_run.run(config, log=lambda _: None)


def test_a_run_leaves_a_checkpoint_that_the_app_loads(finished, data_folder):
    folder, _ = finished
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "model.safetensors", "preprocessor_config.json", "README.md", "metrics.json",
    }  # fmt: skip
    classifier = AffectClassifier.from_pretrained(folder, device="cpu")
    assert classifier.crop == CropSpec()
    assert "research and teaching only" in classifier.card
    assert "Figures on the test rows" in classifier.card
    stored = json.loads((folder / "metrics.json").read_text("utf-8"))
    assert stored["test"]["accuracy"]["this checkpoint"]["all"]["n"] == 9
    assert [member["family"] for member in stored["run"]["learning"]["members"]] == ["conv_transformer"] * 2
    assert json.loads((folder / "config.json").read_text("utf-8"))["members"] == 2


def test_the_released_model_averages_its_members(finished, data_folder):
    kept = run_folder(data_folder / "runs", data_folder / "finished")
    members = [InfantFaceModel.from_pretrained(kept / f"member-{n}" / "fine-tuned").eval() for n in (1, 2)]
    released, crops = InfantFaceModel.from_pretrained(finished[0]).eval(), torch.rand(4, 3, 96, 96, generator=seeded())
    with torch.inference_mode():
        expected = [member(crops * 2 - 1) for member in members]
        answer = released(crops * 2 - 1)
    assert not torch.equal(expected[0].emotion_logits, expected[1].emotion_logits)
    for name in ("image_logits", "emotion_logits", "valence_arousal", "usable_logit"):
        torch.testing.assert_close(answer[name], (expected[0][name] + expected[1][name]) / 2)


def test_the_app_gives_the_logits_of_the_training(finished, tmp_path):
    """On the rendered portraits, which are in colour; geometry and mirror image included."""
    folder = tmp_path / "outspoken"
    model = InfantFaceModel.from_pretrained(finished[0])
    for head in (*(reader.affect for reader in model.readers), model.geometry.layers[-1]):
        torch.nn.init.normal_(head.weight.data, generator=seeded())  # hardly trained, it would say the same of all
    save(model, finished[1], folder)
    classifier = AffectClassifier.from_pretrained(folder, device="cpu")
    photos, finder = [load_image(path) for path in sorted(EXAMPLES.glob("*.jpg"))], FaceDetector()
    found = [finder.find(photo)[0] for photo in photos]
    aligned = [align_face(photo, face, CropSpec()) for photo, face in zip(photos, found, strict=True)]
    geometry = np.stack([geometry_features(face) for face in found])
    rows = replace(drawn_faces(len(found)), crops=np.stack([face.crop_rgb for face in aligned]), geometry=geometry)
    expected = outputs(model, rows).logits
    assert expected.std(0).min() > 0.02  # else any two computations would agree
    for index, face in enumerate(found):
        torch.testing.assert_close(
            classifier.output(aligned[index], face)["logits"], expected[index], rtol=0, atol=1e-4
        )


STEPS = ("pretrained-1", "pretrained-2", "fine-tuned")


def step_times(config: RunConfig) -> dict[tuple[int, str], int]:
    """Return when each step of both members was kept, in ns."""
    folder = run_folder(config.runs, config.output)
    steps = [(number, step) for number in (1, 2) for step in STEPS]
    return {each: (folder / f"member-{each[0]}" / each[1] / "settings.json").stat().st_mtime_ns for each in steps}


@pytest.fixture(scope="module")
def resumed(finished, data_folder) -> SimpleNamespace:
    """The finished run once more, without the test rows; for what is finished no process is started."""
    config = small_run(data_folder, "finished", resume=True, test=False)
    before = step_times(config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe_run, "_train_side_by_side", lambda *_: pytest.fail("a process was started"))
        results = recipe_run.run(config, log=lambda _: None)
    return SimpleNamespace(config=config, before=before, results=results)


def test_the_test_rows_can_be_left_alone(resumed):
    assert set(resumed.results.figures) == {"dev"}
    assert "Figures on the dev rows" in (resumed.config.output / "README.md").read_text("utf-8")


def test_finished_steps_are_reused_with_the_same_settings_only(finished, resumed, data_folder):
    assert resumed.results.figures["dev"].accuracy == finished[1].figures["dev"].accuracy
    assert step_times(resumed.config) == resumed.before
    other = replace(LEARNING, members=(MEMBER, replace(MEMBER, fine_tuning=replace(SHORT, learning_rate=5e-4))))
    data = load(data_folder, data_folder / "cache", log=lambda _: None)
    train_members(TrainingContext(replace(resumed.config, learning=other)), data)
    after = step_times(resumed.config)
    assert [step for step in after if after[step] != resumed.before[step]] == [(2, "fine-tuned")]


def test_rows_to_measure_on_are_looked_for_before_the_training(data_folder):
    data = load(data_folder, data_folder / "cache", log=lambda _: None)
    without = replace(data, infants=data.infants.rows(data.infants.images.split != "test"))
    with pytest.raises(TrainingError, match=r"no rows whose split is test\. Without test rows, add --no-test"):
        recipe_run._check_rows(without, test=True, votes=False)
    recipe_run._check_rows(without, test=False, votes=False)
    unvoted = replace(data, voted_kept=np.zeros_like(data.voted_kept))
    with pytest.raises(DatasetError, match="No training picture has votes"):
        recipe_run._check_rows(unvoted, test=True, votes=True)


def test_votes_are_needed_at_whatever_step_learns_them():
    silent = RecipeConfig(
        (MemberConfig("conv_transformer", (PretrainingConfig(),), FinetuningConfig()),), GeometryConfig()
    )
    assert not silent.learns_votes
    (member,), voted = silent.members, FinetuningConfig(votes_weight=0.5)
    assert replace(silent, members=(replace(member, refinement=voted),)).learns_votes
    assert replace(silent, members=(replace(member, pretraining=(PretrainingConfig(votes_weight=1.0),)),)).learns_votes
    assert replace(silent, student=StudentConfig(64, voted)).learns_votes
    assert recipe("pair").learns_votes


def test_a_step_depends_on_its_occluders_and_on_the_weights_of_its_base(tmp_path):
    covered, bare = FinetuningConfig(covered_share=0.3), FinetuningConfig()
    few, many = (
        TrainingContext(RunConfig(tmp_path, tmp_path, tmp_path, learning=replace(recipe("pair"), occluders=count)))
        for count in (8, 160)
    )
    assert few.occluders_of(covered) != many.occluders_of(covered)
    assert few.occluders_of(bare) == many.occluders_of(bare) == {}
    starts = []
    for content in (b"a", b"b"):
        (tmp_path / "base").mkdir(exist_ok=True)
        (tmp_path / "base" / "model.safetensors").write_bytes(content)
        starts.append(TrainingContext(replace(few.config, base=tmp_path / "base")).start)
    assert starts[0] != starts[1]
    (tmp_path / "base" / "trust.safetensors").write_bytes(b"fitted later")
    assert TrainingContext(replace(few.config, base=tmp_path / "base")).start == starts[1]


def test_a_teacher_of_whom_no_network_learns_is_refused(finished, data_folder):
    with pytest.raises(TrainingError, match="Leave out --teacher"):
        recipe_run.run(small_run(data_folder, "taught", teacher=finished[0]), log=lambda _: None)
