"""Networks of timm like any other: trained, saved, loaded, explained and gated. Needs timm; without it one sentence says so."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers.utils import is_timm_available

from infant_fer.alignment import AlignedFace
from infant_fer.checkpoints.loading import load_checkpoint
from infant_fer.classifier import AffectClassifier, forward_crops
from infant_fer.errors import CheckpointError
from infant_fer.explain import METHODS
from infant_fer.labels import AFFECTS
from infant_fer.models.features import fingerprint
from infant_fer.models.geometry import GEOMETRY_SIZE
from infant_fer.training.config import TrainingConfig
from infant_fer.training.pretrained import load_pretrained
from infant_fer.training.trainer import FitRun, fit
from infant_fer.trust.outputs import outputs_for
from infant_fer.trust.store import TrustData, TrustRows
from tests.drawn_data import drawn_face, face_dataset
from tests.tiny_checkpoints import edit, refusal, save_tiny

# Galagain's ten and those of the other studies that timm has, as small as their families come.
NETWORKS = (
    *("resnet18", "convnext_atto", "densenet121", "vit_tiny_patch16_224", "efficientnet_b0", "resnext50_32x4d"),
    *("mobilenetv2_050", "swin_tiny_patch4_window7_224", "inception_v3"),
    *("coat_lite_tiny", "googlenet", "shufflenet_v2_x2_0"),  # CoaT's blocks share layers; the others are torchvision's
)
needs_timm = pytest.mark.skipif(not is_timm_available(), reason="timm is not installed")


def drawn(count: int, size: int):
    classes = np.arange(count) % 3
    crops = np.stack([drawn_face(AFFECTS[index], number, size) for number, index in enumerate(classes)])
    return face_dataset(crops, np.zeros((count, GEOMETRY_SIZE)), np.eye(3)[classes])


@needs_timm
@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_of_timm_is_trained_saved_loaded_explained_and_gated(name, tmp_path):
    torch.manual_seed(0)
    size = {"swin_tiny_patch4_window7_224": 224, "inception_v3": 96}.get(name, 64)
    base, faces = load_pretrained(f"random:{name}", AFFECTS, size), drawn(6, size)
    before = {key: value.clone() for key, value in base.model.state_dict().items()}
    settings = TrainingConfig(epochs=1, head_epochs=1, batch=3, precision="float32")
    fit(base, faces, faces, settings, FitRun(tmp_path / "run", 0))
    assert any(not torch.equal(before[key], value) for key, value in base.model.state_dict().items() if "weight" in key)
    expected = forward_crops(base.model.eval(), base.processor, faces.crops)["logits"]
    for each in (base.model, base.processor):
        each.save_pretrained(tmp_path / "saved")
    train, dev = (outputs_for(base.model, base.processor, drawn(count, size)) for count in (30, 24))
    TrustData.fit(fingerprint(base.model), TrustRows(train, dev)).save(tmp_path / "saved")
    classifier = AffectClassifier.from_pretrained(tmp_path / "saved", device="cpu")
    assert classifier.trust is not None
    assert classifier.labels == AFFECTS
    aligned = [AlignedFace(crop, np.eye(2, 3)) for crop in faces.crops]
    logits = torch.stack([classifier.output(each)["logits"] for each in aligned])
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-3)
    assert classifier.output(aligned[0])["features"].ndim == 1
    for method in ("smoothgrad", "gradcam"):
        *_, found = METHODS[method](**{"samples": 2} if method == "smoothgrad" else {}).maps(
            classifier.score_of("positive", aligned[0]), classifier.pixel_values(aligned[0])
        )
        assert found.values.shape == (size, size)
        assert np.isfinite(found.values).all()


@needs_timm
def test_a_folder_as_timm_saves_it_is_a_base(tmp_path):
    import timm
    from timm.models import save_for_hf

    torch.manual_seed(0)
    network = timm.create_model("resnet18", num_classes=10)
    save_for_hf(network, tmp_path / "saved", safe_serialization=True)
    assert not (tmp_path / "saved" / "preprocessor_config.json").exists()
    base = load_pretrained(tmp_path / "saved", AFFECTS)
    assert base.crop.size == network.pretrained_cfg["input_size"][-1]
    assert list(base.processor.image_mean) == list(network.pretrained_cfg["mean"])
    torch.testing.assert_close(base.model.timm_model.layer1[0].conv1.weight, network.layer1[0].conv1.weight)
    assert base.model.timm_model.fc.weight.shape == (3, 512)
    assert set(base.fresh) == {"timm_model.fc.weight", "timm_model.fc.bias"}


@pytest.mark.skipif(is_timm_available(), reason="timm is installed")
def test_without_timm_one_sentence_says_what_to_install(tmp_path):
    folder = timm_folder(tmp_path)
    with pytest.raises(CheckpointError, match="pip install timm"):
        load_pretrained("random:densenet121", AFFECTS)
    assert "pip install timm" in refusal(load_checkpoint, folder)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"architecture": "hf-hub:someone/else"}, "a name of timm's registry"),
        ({"architecture": "local-dir:/somewhere"}, "a name of timm's registry"),
        ({"model_args": {"checkpoint_path": "/somewhere/weights.pth"}}, "hands checkpoint_path to timm"),
        ({"model_args": {"cache_dir": "/somewhere"}}, "hands cache_dir to timm"),
        ({"label_names": ["cat", "dog", "cow"]}, "cat"),
        ({"label_names": None}, "names no classes"),
    ],
)
def test_what_would_let_timm_look_elsewhere_is_refused(change, reason, tmp_path):
    folder = timm_folder(tmp_path)
    edit(folder / "config.json", **change)
    assert reason in refusal(load_checkpoint, folder)
    if "label_names" not in change:  # inside an ensemble likewise
        member = json.loads((folder / "config.json").read_text())
        edit(folder / "config.json", model_type="infant_ensemble", member=member, id2label=dict(enumerate(AFFECTS)))
        assert reason in refusal(load_checkpoint, folder)


def timm_folder(tmp_path: Path) -> Path:
    """Save a checkpoint whose config is as transformers writes it for a network of timm; the weights are another's."""
    folder = save_tiny(tmp_path / "timm", labels=AFFECTS)
    settings = {"architecture": "resnet18", "num_classes": 3, "label_names": list(AFFECTS), "id2label": None}
    edit(folder / "config.json", model_type="timm_wrapper", label2id=None, **settings)
    return folder
