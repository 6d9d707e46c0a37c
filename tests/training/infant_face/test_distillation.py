"""A small network that learns from an ensemble: what is cut, what it is taught, and what half precision changes."""

import copy
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import MobileNetV1Config, MobileNetV1ForImageClassification

from infant_fer.classifier import AffectClassifier
from infant_fer.errors import TrainingError
from infant_fer.labels import AFFECTS
from infant_fer.models.image_streams import backbone_settings
from infant_fer.models.infant_face import InfantFaceConfig, InfantFaceModel
from infant_fer.training.infant_face import distillation
from infant_fer.training.infant_face import run as recipe_run
from infant_fer.training.infant_face.config import (
    FinetuningConfig,
    GeometryConfig,
    MemberConfig,
    RecipeConfig,
    RunConfig,
    recipe,
)
from infant_fer.training.infant_face.data import PROCESSOR, TrainingSets, outputs
from infant_fer.training.infant_face.distillation import narrowed_student, rounded_to_half, taught
from infant_fer.training.infant_face.steps import TrainedMember, TrainingContext
from tests.drawn_data import drawn_face, face_dataset


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> InfantFaceModel:
    """A convolution-transformer and a MobileNet whose last layer has 128 channels, all random."""
    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    MobileNetV1ForImageClassification(MobileNetV1Config(depth_multiplier=0.125)).save_pretrained(folder)
    normalization = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(normalization))
    backbones = {"mobilenet": backbone_settings(folder)}
    sizes = {"stem_width": 8, "widths": (8, 16, 32), "blocks_per_stage": 1}
    families = ["conv_transformer", "mobilenet"]
    model = InfantFaceModel(InfantFaceConfig(members=2, families=families, backbones=backbones, **sizes)).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)
    return model.requires_grad_(False)


def crops() -> torch.Tensor:
    return torch.rand(4, 3, 96, 96, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_a_student_with_all_channels_is_the_teachers_own_mobilenet(teacher):
    width = teacher.readers[1].image.width
    student = narrowed_student(teacher, width).eval()
    assert student.config.families == ["mobilenet"]
    with torch.inference_mode():
        expected = teacher.readers[1](crops())["image_logits"]
        torch.testing.assert_close(student(crops()).image_logits, expected)
    assert expected.std() > 1e-3


def test_unused_channels_are_the_ones_that_go(teacher):
    width = teacher.readers[1].image.width
    unused = torch.arange(0, width, 2)
    for name in teacher.config.heads:
        getattr(teacher.readers[1], name).weight[:, unused] = 0
    student = narrowed_student(teacher, width // 2).eval()
    assert student.readers[0].image.width == width // 2
    with torch.inference_mode():
        torch.testing.assert_close(student(crops()).image_logits, teacher.readers[1](crops())["image_logits"])


def test_a_student_has_no_head_that_was_fitted_to_the_teachers_features(teacher, tmp_path, monkeypatch):
    whole = copy.deepcopy(teacher)
    whole.add_head("action_units")
    monkeypatch.setattr(recipe_run, "taught", lambda sets, *_: sets)
    monkeypatch.setattr(recipe_run, "finetune", lambda network, *_, **__: network)
    monkeypatch.setattr(recipe_run, "_occluders", lambda _: None)
    data = SimpleNamespace(training_sets=lambda voted: ())
    context = TrainingContext(RunConfig(tmp_path, tmp_path, tmp_path, tmp_path, learning=recipe("mobile")))
    settings = replace(recipe("mobile").student, last_width=64)
    student = recipe_run._train_student(settings, whole, data, context).model
    assert "action_units" in whole.config.heads
    assert student.config.heads == [name for name in whole.config.heads if name != "action_units"]


def test_a_refinement_by_a_teacher_is_reused_for_the_same_network_alone(teacher, tmp_path, monkeypatch):
    """The run is resumed with networks from elsewhere, and with the same teacher."""
    monkeypatch.setattr(distillation, "taught", lambda sets, *_: sets)
    monkeypatch.setattr(distillation, "finetune", lambda network, *_: network.eval())
    data = SimpleNamespace(training_sets=lambda voted: ())
    mobile = MemberConfig("mobilenet", (), FinetuningConfig(), refinement=FinetuningConfig())
    learning = RecipeConfig((MemberConfig("conv_transformer", (), FinetuningConfig()), mobile), GeometryConfig())
    folders = dict.fromkeys(("data", "output", "cache", "runs"), tmp_path)
    context = TrainingContext(RunConfig(**folders, learning=learning, resume=True))
    other = copy.deepcopy(teacher)
    other.readers[1].affect.bias += 1
    made = []
    for ensemble in (teacher, teacher, other):
        members = distillation.refined(ensemble, [TrainedMember(ensemble, 0.0)], data, context, None, teacher)
        assert torch.equal(members[1].model.readers[0].affect.bias, ensemble.readers[1].affect.bias)
        made.append((context.folder / "member-2" / "refined" / "settings.json").stat().st_mtime_ns)
    assert made[0] == made[1] < made[2]


def test_what_cannot_be_a_student_is_said(teacher):
    with pytest.raises(TrainingError, match="channels"):
        narrowed_student(teacher, 4096)
    alone = InfantFaceModel(InfantFaceConfig(stem_width=8, widths=(8, 16, 32), blocks_per_stage=1))
    with pytest.raises(TrainingError, match="no mobilenet"):
        narrowed_student(alone, 64)


def test_half_of_each_known_target_is_the_teachers(teacher):
    faces = face_dataset(
        np.stack([drawn_face(affect, 0) for affect in AFFECTS]),
        np.zeros((3, 4)),
        np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0]]),
        emotion=np.eye(7)[[0, 1, 2]] * [[1], [1], [0]],
        valence_arousal=np.array([[2.0, 1.0], [np.nan, np.nan], [0.0, 0.0]]),
    )
    sets = TrainingSets(faces, faces, faces)
    by_labels = FinetuningConfig(distill=False)
    learned = taught(sets, teacher, by_labels).infants.images
    np.testing.assert_allclose(learned.target.sum(1), [1, 1, 0], rtol=1e-5)
    assert 0.5 < learned.target[0, 0] < 1
    np.testing.assert_allclose(learned.heads["emotion"].sum(1), [1, 1, 0], rtol=1e-5)
    assert np.isnan(learned.heads["valence_arousal"][1]).all()
    assert learned.heads["valence_arousal"][0, 0] != 2.0
    assert taught(sets, teacher, by_labels).fer is faces


def test_faces_of_adults_learn_the_teachers_answers_at_their_weight(teacher):
    crops, labels = np.stack([drawn_face(affect, 0) for affect in AFFECTS]), np.eye(7)[[0, 1, 2]]
    faces = face_dataset(crops, np.zeros((3, 4)), np.zeros((3, 3)), emotion=labels, valence_arousal=np.zeros((3, 2)))
    taught_faces = taught(TrainingSets(faces, faces, faces), teacher, FinetuningConfig(taught_adults=0.3)).fer.images
    answer = outputs(teacher, faces)
    np.testing.assert_allclose(taught_faces.target, 0.3 * answer.logits.softmax(1).numpy(), atol=0.01)
    np.testing.assert_allclose(
        taught_faces.heads["emotion"], (labels + answer.emotion_logits.softmax(1).numpy()) / 2, atol=0.01
    )


def test_a_file_of_half_the_size_is_the_same_model(teacher, tmp_path):
    student = rounded_to_half(narrowed_student(teacher, 64)).eval()
    for name, model in (("whole", student), ("half", InfantFaceModel(student.config).half())):
        if name == "half":
            model.load_state_dict(student.state_dict())
        model.save_pretrained(tmp_path / name)
        (tmp_path / name / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    sizes = {name: (tmp_path / name / "model.safetensors").stat().st_size for name in ("whole", "half")}
    assert sizes["half"] < 0.6 * sizes["whole"]
    whole, half = (AffectClassifier.from_pretrained(tmp_path / name, device="cpu")._model for name in sizes)
    with torch.inference_mode():
        torch.testing.assert_close(half(crops()).logits, whole(crops()).logits, rtol=0, atol=0)


def test_the_mobile_variant_has_a_student_alone():
    mobile = recipe("mobile")
    assert mobile.members == ()
    assert mobile.half
    assert mobile.renders_occluders
    assert recipe("small").student is None
