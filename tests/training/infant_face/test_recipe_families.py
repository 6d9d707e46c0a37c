"""The recipe infant_face over pretrained backbones: the votes of FER+, what must not leak, members of several families."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import Dinov2Config, Dinov2Model, MobileNetV1Config, MobileNetV1ForImageClassification

from infant_fer.alignment import CropSpec
from infant_fer.classifier import AffectClassifier
from infant_fer.errors import CheckpointError, DatasetError, TrainingError
from infant_fer.labels import EMOTIONS, VOTED_EMOTIONS
from infant_fer.models.geometry import GEOMETRY_SIZE
from infant_fer.models.image_streams import backbone_settings
from infant_fer.models.infant_face import InfantFaceConfig, InfantFaceModel, joined, separated
from infant_fer.training.config import run_folder
from infant_fer.training.infant_face.config import (
    FinetuningConfig,
    GeometryConfig,
    MemberConfig,
    PretrainingConfig,
    RecipeConfig,
    RunConfig,
    recipe,
    variants,
)
from infant_fer.training.infant_face.data import PROCESSOR, load, read_fer2013, read_infants, read_older
from infant_fer.training.infant_face.figures import THIS
from infant_fer.training.infant_face.run import _new_network as new_network
from infant_fer.training.infant_face.run import run
from infant_fer.training.infant_face.steps import TrainingContext
from infant_fer.training.optimization import image_stream_trainable, parameter_groups
from tests.drawn_data import (
    infant_rows,
    named_pictures,
    noisy_faces,
    older_faces,
    store_faces,
    write_table,
    write_zip,
)

VOTES = {"private_test": "PrivateTest", "public_test": "PublicTest", "train": "Training"}
FER_COLUMNS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")


@pytest.fixture(scope="module")
def bases(tmp_path_factory) -> Path:
    """Tiny pretrained backbones in folders as the research data has them."""
    folder = tmp_path_factory.mktemp("bases")
    torch.manual_seed(3)
    mobile = MobileNetV1ForImageClassification(MobileNetV1Config(depth_multiplier=0.125, num_labels=3))
    for module in mobile.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(
                module.weight
            )  # of the library's own small weights nothing arrives at the end
    tiny = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_ratio": 2, "image_size": 518}
    for name, model in (("mobile", mobile), ("dino", Dinov2Model(Dinov2Config(**tiny)))):
        model.save_pretrained(folder / name)
        processor = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.25, 0.5]}
        (folder / name / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


def member(family: str, base: str, **settings) -> MemberConfig:
    pretraining = PretrainingConfig(((1, 64),), batch=8, schedule="cosine", emotion_weight=0.5, votes_weight=1.0)
    fine_tuning = FinetuningConfig(
        epochs=1, infants=8, older=4, emotions=4, votes_weight=1.0, distill=False, decay_norms=False
    )
    return MemberConfig(family, (pretraining,), fine_tuning, base, **settings)


MOBILE, DINO = member("mobilenet", "mobile"), member("dinov2", "dino", drop_path=0.1)


def random_crops(count: int = 3, side: int = 96) -> torch.Tensor:
    return torch.rand(count, 1, side, side, generator=torch.Generator().manual_seed(1)).expand(-1, 3, -1, -1) * 2 - 1


@pytest.mark.parametrize("chosen", [MOBILE, DINO], ids=["mobilenet", "dinov2"])
def test_a_stream_gives_the_features_of_its_pretrained_backbone(bases, chosen):
    stream = new_network(chosen, 0, bases / chosen.base).eval().readers[0].image
    crops = random_crops()
    images = ((crops + 1) / 2 - torch.tensor([0.5, 0.4, 0.3]).view(1, 3, 1, 1)) / torch.tensor([0.2, 0.25, 0.5]).view(
        1, 3, 1, 1
    )
    with torch.inference_mode():
        if chosen is MOBILE:
            source = MobileNetV1ForImageClassification.from_pretrained(bases / "mobile").eval()
            expected = source.mobilenet_v1(images).pooler_output
        else:
            images = torch.nn.functional.interpolate(images, size=(98, 98), mode="bilinear", align_corners=False)
            tokens = Dinov2Model.from_pretrained(bases / "dino").eval()(images).last_hidden_state
            assert tokens.shape[1] == 1 + 7 * 7
            expected = torch.cat([tokens[:, 0], tokens[:, 1:].mean(1)], 1)
        torch.testing.assert_close(stream(crops), expected, rtol=1e-4, atol=1e-5)
    assert expected.std(0).max() > 1e-3


def test_a_transformer_sees_crops_as_large_as_its_settings_say(bases, tmp_path):
    larger = new_network(replace(DINO, input_side=140), 0, bases / "dino").eval()
    seen = []
    larger.readers[0].image.backbone.embeddings.register_forward_hook(lambda *call: seen.append(call[-1].shape[1]))
    with torch.inference_mode():
        expected = larger(random_crops()).image_logits
        larger(random_crops(side=64))
    assert seen == [1 + 10 * 10] * 2  # whatever the side of the crop
    larger.save_pretrained(tmp_path)
    with torch.inference_mode():
        torch.testing.assert_close(
            InfantFaceModel.from_pretrained(tmp_path).eval()(random_crops()).image_logits, expected
        )


def test_random_weights_have_the_architecture_of_the_base(bases):
    torch.manual_seed(0)
    trained, random = (new_network(MOBILE, 0, bases / "mobile", random_weights) for random_weights in (False, True))
    weights = random.state_dict()
    assert {name: value.shape for name, value in trained.state_dict().items()} == {
        name: value.shape for name, value in weights.items()
    }
    first = "readers.0.image.backbone.conv_stem.convolution.weight"
    assert not torch.equal(trained.state_dict()[first], weights[first])
    starts = [TrainingContext(RunConfig(Path(), Path(), Path(), random_weights=each)).start for each in (False, True)]
    assert starts[0] != starts[1]  # a finished step of the one is not taken for the other's


def test_a_base_of_another_kind_is_refused_by_name(bases, tmp_path):
    with pytest.raises(CheckpointError, match="mobile is no dinov2"):
        new_network(replace(DINO, base="mobile"), 0, bases / "mobile")
    with pytest.raises(CheckpointError, match="no pretrained network"):
        backbone_settings(tmp_path)


def test_layers_of_a_transformer_learn_more_slowly_the_deeper_they_are(bases):
    model = new_network(DINO, GEOMETRY_SIZE, bases / "dino")
    image_stream_trainable(model)
    rate_of = {
        name: group["lr"]
        for group in parameter_groups(model, 1e-3, 0.05, 0.5, 10.0)
        for name, parameter in model.named_parameters()
        if any(parameter is each for each in group["params"])
    }
    start = "readers.0.image.backbone."
    assert rate_of["readers.0.votes.weight"] == pytest.approx(1e-2)
    assert rate_of[start + "layernorm.weight"] == pytest.approx(1e-3)
    assert rate_of[start + "encoder.layer.1.norm1.weight"] == pytest.approx(5e-4)
    assert rate_of[start + "encoder.layer.0.norm1.weight"] == pytest.approx(2.5e-4)
    assert rate_of[start + "embeddings.cls_token"] == pytest.approx(1.25e-4)
    assert not any(name.startswith("geometry.") for name in rate_of)


def test_families_count_alike_and_only_common_heads_stay(bases):
    torch.manual_seed(0)
    small = InfantFaceConfig(stem_width=8, widths=(8, 16, 32), blocks_per_stage=1)
    models = [InfantFaceModel(small).eval() for _ in range(2)] + [new_network(MOBILE, 0, bases / "mobile").eval()]
    whole, crops = joined(models), random_crops()
    with torch.inference_mode():
        first, second, mobile = (model(crops).image_logits for model in models)
        torch.testing.assert_close(whole(crops).image_logits, (first + second) / 4 + mobile / 2)
        assert models[2](crops).vote_logits.shape == (3, len(VOTED_EMOTIONS))
        assert whole(crops).vote_logits is None
    with pytest.raises(ValueError, match="families"):
        InfantFaceConfig(members=2, families=["mobilenet"])
    with pytest.raises(ValueError, match="families"):
        InfantFaceConfig(families=["resnet"])
    for members in (0, 9):
        with pytest.raises(ValueError, match=f"1 to 8 members; {members} were given"):
            InfantFaceConfig(members=members)


def test_members_of_a_model_become_models_by_themselves(bases):
    torch.manual_seed(0)
    small = InfantFaceConfig(stem_width=8, widths=(8, 16, 32), blocks_per_stage=1, geometry_size=GEOMETRY_SIZE)
    models = [InfantFaceModel(small).eval(), new_network(MOBILE, GEOMETRY_SIZE, bases / "mobile").eval()]
    singles, crops = separated(joined(models)), random_crops()
    assert [single.config.families for single in singles] == [["conv_transformer"], ["mobilenet"]]
    with torch.inference_mode():
        for single, model in zip(singles, models, strict=True):
            torch.testing.assert_close(single(crops).image_logits, model(crops).image_logits)
    assert all(single.geometry is not None for single in singles)


def test_every_variant_of_the_recipe_can_be_read():
    assert variants()[0] == "small"
    assert [each.family for each in recipe().members] == ["conv_transformer", "conv_transformer", "mobilenet"]
    assert recipe("pair").members == recipe("small").members[:2]
    assert recipe("vit").members[0].pretraining[0].votes_weight == 1.0


def test_votes_become_distributions_as_their_authors_prepare_them(tmp_path):
    names = [f"fer2013/train/sad/{number}.jpg" for number in range(5)]
    write_zip(tmp_path / "fer2013.zip", dict.fromkeys(names, b""))
    votes = ((2, 0, 0, 7, 1, 0, 0, 0, 0, 0), (0, 3, 0, 0, 0, 0, 0, 0, 7, 0), (0, 3, 0, 0, 0, 0, 0, 0, 0, 7))
    write_votes(tmp_path, dict(zip(names, [*votes, (1,) * 8 + (0, 0)], strict=False)), "PublicTest")
    images = read_fer2013(tmp_path)
    expected = np.zeros((5, 8))
    expected[0, VOTED_EMOTIONS.index("neutral")], expected[0, VOTED_EMOTIONS.index("sad")] = 2 / 9, 7 / 9
    np.testing.assert_allclose(images.heads["votes"], expected, rtol=1e-6)
    assert images.subgroups["official split"].tolist() == ["dev"] * 4 + [""]
    (tmp_path / "ferplus.csv").write_text("file,usage\na.jpg,Training\n")
    with pytest.raises(DatasetError, match="lacks columns"):
        read_fer2013(tmp_path)


def write_votes(folder: Path, votes: dict[str, tuple], usage: str | None = None) -> None:
    with (folder / "ferplus.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", "usage", "pixel_difference", *FER_COLUMNS])
        writer.writerows([name, usage or VOTES[name.split("/")[1]], "2.0", *row] for name, row in votes.items())


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory) -> Path:
    """Drawn data with votes. One training picture is, officially, a test picture; another is a darker copy of it."""
    folder, random = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    rows = infant_rows(["train"] * 18 + ["dev"] * 9 + ["test"] * 9)
    crops = noisy_faces(rows, random)
    write_table(folder, rows)
    named_pictures(folder / "infants.zip", [row["file"] for row in rows])
    older_faces(folder, 24)
    fer = sorted(f"fer2013/{split}/{emotion}/{n}.jpg" for split in VOTES for emotion in EMOTIONS for n in "12")
    named_pictures(folder / "fer2013.zip", fer)
    write_votes(folder, {name: (0, 0, 0, 8, 2, 0, 0, 0, 0, 0) for name in fer if not name.endswith("sad/2.jpg")})
    table = (
        (folder / "ferplus.csv")
        .read_text()
        .replace("fer2013/train/fear/1.jpg,Training", "fer2013/train/fear/1.jpg,PrivateTest")
    )
    (folder / "ferplus.csv").write_text(table)
    faces = random.integers(0, 255, (len(fer), 12, 12, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    faces[fer.index("fer2013/train/happy/2.jpg")] = faces[fer.index("fer2013/train/fear/1.jpg")][:, ::-1] * 0.8
    for read, pictures in (
        (read_infants, crops),
        (read_older, random.integers(0, 255, (48, 96, 96, 3), np.uint8)),
        (read_fer2013, faces),
    ):
        geometry = random.normal(size=(len(pictures), GEOMETRY_SIZE))
        store_faces(read(folder), folder / "cache", pictures, geometry, adults=read is not read_infants)
    return folder


def test_no_picture_that_is_held_out_officially_is_learned_from(data_folder):
    data = load(data_folder, data_folder / "cache", log=lambda _: None)
    kept = {name for name, keep in zip(data.fer.images.members, data.voted_kept, strict=True) if keep}
    left_out = {"fear/1.jpg", "happy/2.jpg", "sad/2.jpg"}  # officially a test picture; its copy; without votes
    assert kept == {
        name
        for name in data.fer.images.members
        if "/train/" in name and name.removeprefix("fer2013/train/") not in left_out
    }


def run_config(folder: Path, bases: Path, members: tuple[MemberConfig, ...], name: str, **settings) -> RunConfig:
    if not (folder / "bases").exists():
        (folder / "bases").symlink_to(bases)
    learning = RecipeConfig(members, GeometryConfig(epochs=2, batch=8))
    return RunConfig(
        data=folder,
        output=folder / name,
        cache=folder / "cache",
        runs=folder / "runs",
        learning=learning,
        test=False,
        command="python train.py --recipe infant_face",
        **settings,
    )


def step_times(kept: Path) -> list[int]:
    """Return when each step of a run was kept, in ns."""
    return [file.stat().st_mtime_ns for file in sorted(kept.rglob("settings.json"))]


@pytest.fixture(scope="module")
def families(data_folder, bases) -> SimpleNamespace:
    """Two members trained one at a time, what each run returned and left, and the results of the run that joins them."""
    config = run_config(data_folder, bases, (MOBILE, DINO), "families", resume=True)
    kept, of_one = run_folder(config.runs, config.output), []
    for number in (1, 2):
        results = run(replace(config, only_member=number), log=lambda _: None)
        members = sorted(file.parts[-3] for file in kept.glob("*/fine-tuned/settings.json"))
        of_one.append((results, members, config.output.exists()))
    before = step_times(kept)
    results = run(config, log=lambda _: None)
    return SimpleNamespace(config=config, kept=kept, of_one=of_one, before=before, results=results)


@pytest.mark.slow
def test_members_are_trained_one_at_a_time_and_joined(families, data_folder):
    config, kept = families.config, families.kept
    assert families.of_one == [(None, ["member-1"], False), (None, ["member-1", "member-2"], False)]
    assert step_times(kept) == families.before
    assert families.results.figures["dev"].accuracy[THIS]["all"].n == 9
    classifier = AffectClassifier.from_pretrained(config.output, device="cpu")
    assert classifier.crop == CropSpec()
    start = RecipeConfig((MOBILE, DINO, MOBILE), config.learning.geometry)
    again = replace(config, output=data_folder / "third", start_from=config.output, learning=start)
    run(again, log=lambda _: None)
    model = InfantFaceModel.from_pretrained(again.output)
    assert model.config.families == ["mobilenet", "dinov2", "mobilenet"]
    source = InfantFaceModel.from_pretrained(config.output)
    for name, value in source.readers.state_dict().items():
        assert torch.equal(model.readers.state_dict()[name], value), name


@pytest.mark.slow
def test_a_refinement_changes_the_networks_of_its_family_alone(families, data_folder, bases):
    refinement = replace(MOBILE.fine_tuning, lit_share=0.5, turned_share=0.5, learning_rate=1e-2)
    members = (replace(MOBILE, refinement=refinement), DINO)
    config = run_config(data_folder, bases, members, "refined", start_from=families.config.output, resume=True)
    run(config, log=lambda _: None)
    assert not (run_folder(config.runs, config.output) / "member-2").exists()
    before, after = (InfantFaceModel.from_pretrained(each.output).readers for each in (families.config, config))
    same = [
        all(torch.equal(value, new.state_dict()[name]) for name, value in old.state_dict().items())
        for old, new in zip(before, after, strict=True)
    ]
    assert same == [False, True]
    file = run_folder(config.runs, config.output) / "member-1" / "refined" / "settings.json"
    made = file.stat().st_mtime_ns
    run(config, log=lambda _: None)
    assert file.stat().st_mtime_ns == made
    run(replace(config, teacher=config.output), log=lambda _: None)  # other answers to learn: another refinement
    assert file.stat().st_mtime_ns > made
    assert json.loads((config.output / "metrics.json").read_text())["run"]["teacher"] == config.output.name


def test_what_cannot_be_trained_is_said_before_the_data_are_read(data_folder, bases, tmp_path):
    config = run_config(data_folder, bases, (MOBILE,), "never")
    with pytest.raises(TrainingError, match="no member 2"):
        run(replace(config, only_member=2))
    with pytest.raises(TrainingError, match="no pretrained mobilenet"):
        run(replace(config, base=tmp_path))
    torch.manual_seed(0)
    other = InfantFaceModel(InfantFaceConfig(stem_width=8, widths=(8, 16, 32), blocks_per_stage=1))
    other.save_pretrained(tmp_path / "other")
    (tmp_path / "other" / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    with pytest.raises(TrainingError, match="conv_transformer"):
        run(replace(config, start_from=tmp_path / "other"))
