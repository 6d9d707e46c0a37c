"""Write a checkpoint of the recipe infant_face as ONNX, for programs without torch: `infant-fer export CHECKPOINT --out DIR`.

The graph has everything between the aligned crop and the answer: normalization, the mirror image, the fused streams and the
temperature. `model.onnx` is in float32; `model-int8.onnx` stores the weights in 8 bits, with a scale for each output channel, and
computes in float32.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import nn

from infant_fer.checkpoints.loading import LoadedCheckpoint, load_checkpoint, weights_sha256
from infant_fer.errors import CheckpointError, exit_status
from infant_fer.files import check_output_folder, filled_folder, write_atomically
from infant_fer.models.infant_face import HEADS, InfantFaceModel

FLOAT32, INT8, PARITY = "model.onnx", "model-int8.onnx", "parity.json"
LEAST_SAME, MOST_DIFFERENCE = 0.99, 0.02  # of labels, and of a probability in 95 % of the crops
BATCH, TIMED = 20, 30
OUTPUT_AXIS = {
    "Conv": 0,
    "Gemm": 0,
    "MatMul": 1,
}  # of the weights; Gemm has them transposed, as torch's linear layers do
LEAST_WEIGHTS = 1024  # smaller arrays stay in float32
OPSET = 18
INPUTS = ("crop_rgb", "geometry", "found")
Feed = dict[str, np.ndarray]  # crop_rgb (N, S, S, 3) uint8, geometry (N, G) float32, found (N,) bool
# Outputs beside "probabilities", by the field of InfantFaceOutput: name, and how logits become what is said.
OUTPUTS = {
    "emotion_logits": ("emotions", "softmax"),
    "valence_arousal": ("valence_arousal", "identity"),
    "age_logits": ("age_groups", "softmax"),
    "usable_logit": ("usable", "sigmoid"),
    "eyes_closed_logit": ("eyes_closed", "sigmoid"),
    "mouth_covered_logit": ("mouth_covered", "sigmoid"),
    "action_unit_logits": ("action_units", "sigmoid"),
}


@dataclass(frozen=True)
class Parity:
    """How nearly an exported graph answers as the checkpoint does, over `n` crops."""

    n: int
    same_label: float  # proportion
    difference: float  # of a probability: below it in 95 % of the crops
    largest_difference: float
    milliseconds: float  # median for one crop in ONNX Runtime on one thread

    @property
    def sufficient(self) -> bool:
        """Return whether the graph may stand for the checkpoint."""
        return self.same_label >= LEAST_SAME and self.difference <= MOST_DIFFERENCE


class CropToAnswer(nn.Module):
    """The checkpoint from crops to probabilities, as AffectClassifier computes them."""

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, checkpoint: LoadedCheckpoint):
        super().__init__()
        model, processor = checkpoint.model, checkpoint.processor
        if not isinstance(model, InfantFaceModel):
            raise CheckpointError(
                f"{checkpoint.name} is no checkpoint of the recipe infant_face; only these can be written as ONNX."
            )
        self.model = model
        self.names = ["probabilities", *(OUTPUTS[head][0] for head in self._heads())]
        mean, deviation = (torch.tensor(each).view(1, 3, 1, 1) for each in (processor.image_mean, processor.image_std))
        self.register_buffer("scale", 1 / (255 * deviation))
        self.register_buffer("shift", mean / deviation)

    def forward(self, crop_rgb: torch.Tensor, geometry: torch.Tensor, found: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return (B, ...) outputs in the order of `names` for (B, S, S, 3) uint8 crops, (B, G) geometry and (B,) bool `found`."""
        pixel_values = crop_rgb.permute(0, 3, 1, 2).float() * self.scale - self.shift
        streams = {"geometry": geometry, "found": found} if self.model.geometry is not None else {}
        views = [self.model(pixel_values=pixel_values, **streams)]
        if self.model.config.test_time_mirror:
            views.append(self.model(pixel_values=pixel_values.flip(-1), **streams))
        mean = {name: sum(view[name] for view in views) / len(views) for name in ("logits", *self._heads())}
        answers = [(mean.pop("logits") / self.model.config.logit_temperature).softmax(-1)]
        for name, values in mean.items():
            kind = OUTPUTS[name][1]
            answers.append(
                values if kind == "identity" else values.softmax(-1) if kind == "softmax" else values.sigmoid()
            )
        return tuple(answers)

    def _heads(self) -> list[str]:
        fields = [HEADS[name][0] for name in self.model.config.heads]
        return [name for name in fields if name in OUTPUTS]


def export(checkpoint: LoadedCheckpoint, folder: Path) -> Path:
    """Write `model.onnx` in float32 for any number of crops; return the file. Raises CheckpointError."""
    graph = CropToAnswer(checkpoint).eval()
    side, width = checkpoint.crop.size, _geometry_width(checkpoint)
    example = (torch.zeros(2, side, side, 3, dtype=torch.uint8), torch.zeros(2, width), torch.ones(2, dtype=torch.bool))
    count = torch.export.Dim("count", min=1, max=1024)
    with warnings.catch_warnings():
        # torch's exporter uses what torch itself deprecates, and says which of three equal names of an axis it keeps.
        warnings.filterwarnings("ignore", "`isinstance\\(treespec, LeafSpec\\)`", FutureWarning)
        warnings.filterwarnings("ignore", "# The axis name: count", UserWarning)
        program = torch.onnx.export(
            graph,
            example,
            input_names=list(INPUTS),
            output_names=graph.names,
            dynamic_shapes=({0: count}, {0: count}, {0: count}),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    exported = cast(torch.onnx.ONNXProgram, program)  # None is returned by the older exporter alone
    write_atomically(folder / FLOAT32, exported.model_proto.SerializeToString())
    return folder / FLOAT32


def quantize(float32: Path) -> Path:
    """Write `model-int8.onnx` beside `model.onnx`: the weights of convolutions and linear layers as int8 in -127..127.

    Depthwise convolutions keep theirs: they are few, and rounding them changes the answers most. The weights are cast and
    scaled back by nodes that ONNX Runtime computes once, when it loads the graph.
    """
    import onnx
    from onnx import helper, numpy_helper

    model, target = onnx.load(float32), float32.with_name(INT8)
    graph = model.graph
    weights = {each.name: each for each in graph.initializer}
    dequantized: dict[str, str] = {}
    for node in list(graph.node):
        name = node.input[1] if node.op_type in OUTPUT_AXIS else ""
        values = numpy_helper.to_array(weights[name]) if name in weights else np.zeros(0)
        if values.size < LEAST_WEIGHTS or (node.op_type == "Conv" and values.shape[1] == 1):
            continue
        if name not in dequantized:
            axis = OUTPUT_AXIS[node.op_type]
            others = tuple(each for each in range(values.ndim) if each != axis)
            scale = np.maximum(np.abs(values).max(others) / 127, np.finfo(np.float32).tiny).astype(np.float32)
            rounded = np.rint(values / np.expand_dims(scale, others)).astype(np.int8)
            scale = scale.reshape([-1 if each == axis else 1 for each in range(values.ndim)])
            stored, scales, cast, dequantized[name] = (
                f"{name}.{part}" for part in ("int8", "scale", "cast", "float32")
            )
            graph.initializer.extend([numpy_helper.from_array(rounded, stored), numpy_helper.from_array(scale, scales)])
            graph.initializer.remove(weights[name])
            graph.node.insert(0, helper.make_node("Mul", [cast, scales], [dequantized[name]]))
            graph.node.insert(0, helper.make_node("Cast", [stored], [cast], to=onnx.TensorProto.FLOAT))
        node.input[1] = dequantized[name]
    onnx.checker.check_model(model)
    write_atomically(target, model.SerializeToString())
    return target


def parity(checkpoint: LoadedCheckpoint, file: Path, feed: Feed) -> Parity:
    """Compare a graph with the checkpoint in torch over the crops of `feed`, and time it on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    mine, theirs, count = [], [], len(feed["crop_rgb"])
    graph = CropToAnswer(checkpoint).eval()
    for start in range(0, count, BATCH):
        batch = {name: values[start : start + BATCH] for name, values in feed.items()}
        mine.append(session.run(["probabilities"], batch)[0])
        with torch.inference_mode():
            theirs.append(graph(*(torch.from_numpy(values) for values in batch.values()))[0].numpy())
    given, wanted = np.concatenate(mine), np.concatenate(theirs)
    difference = np.abs(given - wanted).max(1)
    one, times = {name: values[:1] for name, values in feed.items()}, []
    for _ in range(TIMED):
        start_s = time.perf_counter()
        session.run(None, one)
        times.append(time.perf_counter() - start_s)
    same = float((given.argmax(1) == wanted.argmax(1)).mean())
    return Parity(
        count, same, float(np.quantile(difference, 0.95)), float(difference.max()), 1000 * float(np.median(times))
    )


def crops_of(source: str, pictures: Sequence[Path], cache: Path, checkpoint: LoadedCheckpoint) -> Feed:
    """Return the crops to compare on: the dev pictures, or all where there is no such split. Raises DatasetError.

    `source` and `pictures` are those of `read_labeled_images`.
    """
    from infant_fer.data.datasets import read_labeled_images
    from infant_fer.data.face_cache import align_images

    dataset = align_images(read_labeled_images(source, pictures=pictures, cache=cache), checkpoint.crop, cache)
    dev = dataset.images.split == "dev"
    rows = np.flatnonzero(dev if dev.any() else np.ones(len(dataset), bool))
    geometry = dataset.geometry[rows][:, : _geometry_width(checkpoint)]
    return {"crop_rgb": dataset.crops[rows], "geometry": geometry, "found": dataset.found[rows]}


def main(arguments: list[str] | None = None) -> int:
    """Write the graphs and, with data, `parity.json`; return 1 with one sentence when something cannot be used or is not alike."""
    options = _parser().parse_args(arguments)
    return exit_status(partial(_write_graphs, options))


def _write_graphs(options: argparse.Namespace) -> int:
    """Return 1 for a graph that answers otherwise than the checkpoint. Raises InfantFERError.

    An earlier export, perhaps of another checkpoint, is replaced as a whole.
    """
    checkpoint = load_checkpoint(options.checkpoint)
    check_output_folder(options.out, _is_export)
    feed = crops_of(options.data, options.pictures, options.cache, checkpoint) if options.data else None
    found: dict[str, Parity] = {}
    with filled_folder(options.out, lambda _: (FLOAT32, INT8, PARITY)) as folder:
        files = [export(checkpoint, folder)]
        files.append(quantize(files[0]))
        if feed is not None:
            found = {file.name: parity(checkpoint, file, feed) for file in files}
            record = {
                "weights_sha256": weights_sha256(checkpoint.folder),
                **{name: asdict(each) for name, each in found.items()},
            }
            write_atomically(folder / PARITY, json.dumps(record, indent=1))
    if feed is None:
        print(f"written: {options.out / FLOAT32} and {INT8} (with --data, they are compared with the checkpoint)")
    for name, each in found.items():
        size = (options.out / name).stat().st_size / 1e6
        print(
            f"{name}: {size:.1f} MB, the same label for {each.same_label:.1%} of {each.n} crops, probabilities within "
            f"{each.difference:.3f} for 95 % of them ({each.largest_difference:.3f} at most), {each.milliseconds:.0f} ms"
            + ("" if each.sufficient else f": not alike enough ({LEAST_SAME:.0%}, {MOST_DIFFERENCE})")
        )
    return 0 if all(each.sufficient for each in found.values()) else 1


def _is_export(folder: Path) -> bool:
    """Tell whether an earlier export wrote the folder: beside the graph is its comparison, or without one the 8-bit graph.

    `model.onnx` alone is no mark: other programs give their graphs that name, too.
    """
    try:
        return (folder / FLOAT32).is_file() and FLOAT32 in json.loads((folder / PARITY).read_text("utf-8"))
    except FileNotFoundError:
        return (folder / INT8).is_file()
    except (OSError, ValueError, TypeError):
        return False


def _geometry_width(checkpoint: LoadedCheckpoint) -> int:
    return max(1, checkpoint.model.config.geometry_size)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("infant-fer export", description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", help="folder or Hub id")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--data", help="labelled pictures as for train.py: compares both graphs on them")
    parser.add_argument(
        "--pictures", type=Path, nargs="+", action="extend", default=[], help="where a table's images are"
    )
    parser.add_argument("--cache", type=Path, default=Path("data-cache"), help="folder that caches the found faces")
    return parser


if __name__ == "__main__":
    sys.exit(main())
