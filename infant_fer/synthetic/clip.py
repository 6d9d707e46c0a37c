"""Render moving infants with known facial actions as a clip, with the truth of every frame: `python -m infant_fer.synthetic.clip`."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from infant_fer.arguments import positive, seed
from infant_fer.errors import SyntheticError, exit_status
from infant_fer.face import HeadPose
from infant_fer.files import check_output_file, open_atomically, write_atomically
from infant_fer.synthetic.camera import photographed
from infant_fer.synthetic.clip_spec import CLOTH, SCENES, Act, Actor, ClipSpec, Occlusion, ramp
from infant_fer.synthetic.expressions import EXPRESSIONS, by_side
from infant_fer.synthetic.infant import Infant, Mesh, sample_infant
from infant_fer.synthetic.mesh.data import HOW_TO_GET, is_installed
from infant_fer.synthetic.occluders import Occluder, sample_occluder
from infant_fer.synthetic.portrait import arriving_light, render
from infant_fer.synthetic.scene import Light, View, background

CLOTH_RAMP_S = 0.25  # a cloth moves before the face within this time
LIGHT_EVERY_S = 0.2  # the light on the head is computed so often and interpolated in between
SEEN_SHARE = 0.5  # of the face's box, from which on a face counts as seen
SEEN_YAW = 70.0  # degrees, beyond which a face is turned away
ZOOM = 0.15  # distance between the pupils as a share of a portrait's side
BOX_MARGINS = (0.22, 0.36, 0.22, 0.24)  # left, top, right, bottom: what a detector's box adds, in the landmarks' extent
OF_A_SCENE = {
    "scene": "one",
    "seconds": 8.0,
    "fps": 25.0,
    "size": None,
    "seed": 0,
}  # options and what they are by default
RESTING = Act(0, 0, "neutral", peak=0.0)
COLUMNS = ("time_s", "person", "seen", "visible", "left", "top", "right", "bottom", "label", "expression", "intensity",
           "yaw", "pitch", "roll", "actions")  # fmt: skip


@dataclass(frozen=True)
class TrueFace:
    """The truth of one person in one frame; the label is the affect of the act whose onset and offset hold the time."""

    person: int  # from 1, in the order of the actors
    seen: bool  # at least SEEN_SHARE of the box is uncovered and in the frame, and the face is not turned away
    visible: float  # that share
    box_xyxy: tuple[float, float, float, float]  # px of the frame, about a detector's box; may leave the frame
    label: str  # affect
    expression: str
    intensity: float  # 0..1
    actions: dict[str, float] = field(hash=False)  # facial actions by ARKit's names, written out by side
    pose: HeadPose  # in the convention of frames.csv, in which View's pitch and roll have the opposite sign

    def row(self, time_s: float) -> tuple:
        """Return the cells of COLUMNS."""
        numbers = (round(value, 2) for value in self.box_xyxy)
        angles = (round(value, 2) + 0.0 for value in (self.pose.yaw, self.pose.pitch, self.pose.roll))  # no -0.0
        actions = json.dumps({name: round(weight, 3) for name, weight in self.actions.items() if weight > 5e-4})
        return (f"{time_s:.4f}", self.person, int(self.seen), round(self.visible, 3), *numbers, self.label, self.expression,
                round(self.intensity, 3), *angles, actions)  # fmt: skip


@dataclass(frozen=True, eq=False)
class ClipFrame:
    """One frame: its time, (H, W, 3) uint8 RGB, and the truth of each person."""

    time_s: float
    image_rgb: np.ndarray
    faces: tuple[TrueFace, ...]


def frames(spec: ClipSpec) -> Iterator[ClipFrame]:
    """Render a clip frame by frame. The same spec gives the same bytes on one machine."""
    return drawn_frames(spec, (index / spec.fps for index in range(round(spec.seconds * spec.fps))))


def drawn_frames(spec: ClipSpec, times_s: Iterable[float]) -> Iterator[ClipFrame]:
    """Render the frames of a clip at any times, in seconds from its start; ascending times are the fastest."""
    width, height = spec.size_wh[0] // spec.panels, spec.size_wh[1]
    backdrops = [_backdrop(spec.seed + panel, width, height) for panel in range(spec.panels)]
    persons = [_Person(actor, number, spec) for number, actor in enumerate(spec.actors, 1)]
    for time_s in times_s:
        panels, faces = [backdrop.copy() for backdrop in backdrops], []
        owners = [np.zeros((height, width), np.uint8) for _ in panels]  # the person in front, 255 for a cloth
        for person in persons:
            faces.append(person.draw(time_s, panels[person.actor.panel], owners[person.actor.panel]))
        truths = tuple(
            person.truth(time_s, face, owners[person.actor.panel]) for person, face in zip(persons, faces, strict=True)
        )
        yield ClipFrame(time_s, np.hstack(panels), truths)


class _Person:
    """An actor with its head, light and motion in a panel of (width, height) px."""

    def __init__(self, actor: Actor, number: int, spec: ClipSpec):
        self.actor, self.number, self.spec = actor, number, spec
        self.width, self.height = spec.size_wh[0] // spec.panels, spec.size_wh[1]
        self.side = round(actor.size * self.height)
        self.phases = np.random.default_rng([spec.seed, actor.seed]).uniform(0, 2 * np.pi, 6)
        self._lit: dict[tuple[int, Occluder | None], np.ndarray] = {}

    @cached_property
    def infant(self) -> Infant:
        return sample_infant(self.actor.seed, age=self.actor.age)

    def act(self, time_s: float) -> Act:
        """Return the act of the label at a time; a resting face is neutral."""
        return next((act for act in self.actor.acts if act.onset_s <= time_s < act.offset_s), RESTING)

    def actions(self, time_s: float) -> dict[str, float]:
        """Return the weights of all facial actions at a time: those of overlapping ramps add up."""
        total: dict[str, float] = {}
        for act in self.actor.acts:
            if share := act.intensity(time_s):
                for name, weight in by_side(EXPRESSIONS[act.expression].actions).items():
                    total[name] = total.get(name, 0.0) + share * weight
        return total

    def view(self, time_s: float) -> View:
        """Return the view at a time: the head sways slowly about two axes and nods a little."""
        slow, fast = 2 * np.pi * time_s / 5.3, 2 * np.pi * time_s / 1.9
        yaw, pitch, roll = (
            float(
                self.actor.sway
                * scale
                * (0.75 * np.sin(slow + self.phases[i]) + 0.25 * np.sin(fast + self.phases[i + 3]))
            )
            for i, scale in enumerate((1.0, 0.5, 0.7))
        )
        return View(yaw=yaw, pitch=pitch, roll=roll, zoom=ZOOM, background=self.spec.seed, grain=0.004)

    def occluder(self, time_s: float) -> Occluder | None:
        kinds = [c.kind for c in self.actor.occlusions if c.kind != CLOTH and c.onset_s <= time_s < c.offset_s]
        return sample_occluder(np.random.default_rng(self.actor.seed), kinds[0]) if kinds else None

    def origin(self, time_s: float) -> tuple[int, int]:
        """Return the left and top px of the portrait in the panel."""
        times, x, y = zip(*self.actor.path, strict=True)
        middle = np.interp(time_s, times, x) * self.width, np.interp(time_s, times, y) * self.height
        return round(float(middle[0]) - self.side / 2), round(float(middle[1]) - self.side / 2)

    def draw(self, time_s: float, panel: np.ndarray, owner: np.ndarray) -> tuple[float, float, float, float]:
        """Draw the person into the panel and return the face's box in the panel, px; `owner` (H, W) says who is in front."""
        view, occluder = self.view(time_s), self.occluder(time_s)
        light_at = self._light_at(time_s, occluder)
        portrait = render(self._mesh(time_s), view, Light(), self.side, occluder, light_at)
        left, top = self.origin(time_s)
        box = _box(portrait.landmarks, left, top)
        alpha = cv2.GaussianBlur((portrait.parts > 0).astype(np.float32), (0, 0), 0.8)
        _paste(panel, owner, portrait.image, alpha, left, top, self.number)
        for occlusion in self.actor.occlusions:
            if occlusion.kind == CLOTH:
                _draw_cloth(panel, owner, box, occlusion, time_s, self.actor.seed)
        return box

    def truth(self, time_s: float, box: tuple, owner: np.ndarray) -> TrueFace:
        """Return the truth once everybody is drawn: `owner` then tells what of the box is uncovered."""
        left, top, right, bottom = (round(value) for value in box)
        inside = owner[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
        own, before = int(np.sum(inside == self.number)), int(np.sum(inside > self.number))
        visible = own / max(1, own + before) * inside.size / max(1, (right - left) * (bottom - top))
        act, view = self.act(time_s), self.view(time_s)
        shift = self.actor.panel * self.width
        return TrueFace(
            person=self.number,
            seen=visible >= SEEN_SHARE and abs(view.yaw) < SEEN_YAW,
            visible=visible,
            box_xyxy=(box[0] + shift, box[1], box[2] + shift, box[3]),
            label=EXPRESSIONS[act.expression].affect,
            expression=act.expression,
            intensity=act.intensity(time_s),
            actions=self.actions(time_s),
            pose=HeadPose(view.yaw, -view.pitch, -view.roll),
        )

    def _mesh(self, time_s: float) -> Mesh:
        return self.infant.express(self.actions(time_s))

    def _light_at(self, time_s: float, occluder: Occluder | None) -> np.ndarray:
        """Return the (N, 3) light at each vertex, interpolated between moments LIGHT_EVERY_S apart."""
        first = int(time_s / LIGHT_EVERY_S)
        wanted = [(first, occluder), (first + 1, occluder)]
        self._lit = {key: self._lit[key] for key in wanted if key in self._lit}
        for key in wanted:
            if key not in self._lit:
                moment = key[0] * LIGHT_EVERY_S
                self._lit[key] = arriving_light(self._mesh(moment), self.view(moment), Light(), self.side, occluder)
        share = time_s / LIGHT_EVERY_S - first
        return (1 - share) * self._lit[wanted[0]] + share * self._lit[wanted[1]]


def _backdrop(seed: int, width: int, height: int) -> np.ndarray:
    side, view = max(width, height), View(background=seed, grain=0.004)
    return photographed(background(view, side), view, side)[:height, :width]


def _box(landmarks: dict[str, tuple[float, float]], left: int, top: int) -> tuple[float, float, float, float]:
    """Return the box about a face in the panel, px, from its true landmarks in the portrait."""
    points = np.array(list(landmarks.values())) + 0.5 + (left, top)
    (low_x, low_y), (high_x, high_y) = points.min(0), points.max(0)
    wide, high = high_x - low_x, high_y - low_y
    margins = np.array(BOX_MARGINS) * (wide, high, wide, high)
    return tuple(float(v) for v in np.array((low_x, low_y, high_x, high_y)) + margins * (-1, -1, 1, 1))  # type: ignore[return-value]


def _paste(
    panel: np.ndarray, owner: np.ndarray, image: np.ndarray, alpha: np.ndarray, left: int, top: int, who: int
) -> None:
    """Blend an image into the panel where it overlaps, by its (h, w) alpha in 0..1; outside the panel nothing is drawn."""
    height, width = alpha.shape
    rows = slice(max(0, top), min(panel.shape[0], top + height))
    columns = slice(max(0, left), min(panel.shape[1], left + width))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return
    part = (slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left))
    share = alpha[part][..., None]
    panel[rows, columns] = (panel[rows, columns] * (1 - share) + image[part] * share + 0.5).astype(np.uint8)
    owner[rows, columns][share[..., 0] > 0.5] = who


def _draw_cloth(
    panel: np.ndarray, owner: np.ndarray, box: tuple, occlusion: Occlusion, time_s: float, seed: int
) -> None:
    """Draw a woven cloth that comes up from below the face, hides it, and goes down again."""
    up = ramp(time_s - occlusion.onset_s, CLOTH_RAMP_S) * ramp(occlusion.offset_s - time_s, CLOTH_RAMP_S)
    left, top, right, bottom = box
    wide, high = right - left, bottom - top
    first = round(bottom + 0.2 * high - up * 1.6 * high)
    if not up or first >= panel.shape[0]:
        return
    random = np.random.default_rng([seed, 7])
    colour = np.array([150, 120, 105]) + random.uniform(-25, 25, 3)
    size = (round(2 * wide), round(2.2 * high))
    weave = cv2.resize(random.normal(0, 1, (size[1] // 3 + 1, size[0] // 3 + 1)).astype(np.float32), size)
    folds = np.sin(np.linspace(0, 14, size[0], dtype=np.float32))[None]
    cloth = colour + (5 * weave + 9 * folds)[..., None]
    _paste(
        panel,
        owner,
        np.clip(cloth, 0, 255),
        np.ones(size[::-1], np.float32),
        round((left + right) / 2 - wide),
        first,
        255,
    )


# --- files --------------------------------------------------------------------------------------------------------------


def write_clip(spec: ClipSpec, path: Path, quality: int = 23) -> list[Path]:
    """Write a clip as H.264 in MP4, and beside it STEM.truth.csv, STEM.json (the spec) and, with events, STEM.events.csv.

    `quality` is x264's constant rate factor. Returns the files. Raises OutputError and SyntheticError.
    """
    import av

    if not is_installed():
        raise SyntheticError(HOW_TO_GET)
    truth, described, events = (path.with_name(path.stem + end) for end in (".truth.csv", ".json", ".events.csv"))
    files = [path, truth, described, *([events] if spec.events else [])]
    for file in files:
        check_output_file(file)
    with ExitStack() as stack:
        binary, table = stack.enter_context(open_atomically(path, "wb")), stack.enter_context(open_atomically(truth))
        rows = csv.writer(table, lineterminator="\n")
        rows.writerow(COLUMNS)
        container = stack.enter_context(av.open(binary, "w", format="mp4"))
        stream = container.add_stream("libx264", rate=Fraction(spec.fps).limit_denominator(1001))
        stream.width, stream.height = spec.size_wh
        stream.pix_fmt, stream.options = "yuv420p", {"crf": str(quality), "threads": "1"}
        for frame in frames(spec):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.image_rgb, format="rgb24")))
            rows.writerows(face.row(frame.time_s) for face in frame.faces)
        container.mux(stream.encode())
    write_atomically(described, json.dumps(asdict(spec), indent=1))
    if spec.events:
        lines = [f"{start:.3f},{end:.3f},{name}\n" for name, start, end in spec.events]
        write_atomically(events, "onset_s,offset_s,event\n" + "".join(lines))
    return files


def main(arguments: Sequence[str] | None = None) -> int:
    """Render a scene, or a spec that an earlier clip wrote; return 1 after one sentence on stderr on failure."""
    parser = _parser()
    options = parser.parse_args(arguments)
    given = [f"--{name}" for name in OF_A_SCENE if getattr(options, name) is not None]
    if options.spec and given:
        parser.error(f"--spec says everything of the clip: leave out {', '.join(given)}.")
    return exit_status(partial(_write, options))


def _write(options: argparse.Namespace) -> None:
    """Render what the options say and print the written files. Raises SyntheticError, OutputError."""
    for file in write_clip(_spec(options), options.out, options.quality):
        print(file)


def _spec(options: argparse.Namespace) -> ClipSpec:
    """Return the spec of the file that the options name, or that of their scene. Raises SyntheticError."""
    if options.spec:
        try:
            return ClipSpec.from_dict(json.loads(options.spec.read_text("utf-8")))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise SyntheticError(f"{options.spec} is no spec of a clip: {error}.") from None
    chosen: dict[str, Any] = {
        name: default if (value := getattr(options, name)) is None else value for name, default in OF_A_SCENE.items()
    }
    spec = SCENES[chosen["scene"]](chosen["seconds"], chosen["seed"])
    return replace(spec, fps=chosen["fps"], size_wh=tuple(chosen["size"] or spec.size_wh))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m infant_fer.synthetic.clip", description=__doc__.split(":")[0])
    parser.add_argument("--out", type=Path, required=True, help="the MP4 file; its truth is written beside it")
    parser.add_argument("--scene", choices=list(SCENES), help="who is to be seen (one)")
    parser.add_argument("--seconds", type=float, help="length (8)")
    parser.add_argument("--fps", type=float, help="frames per second (25)")
    parser.add_argument("--size", type=positive, nargs=2, metavar=("WIDTH", "HEIGHT"), help="px, even")
    parser.add_argument("--seed", type=seed, help="the same seed gives the same infant and clip (0)")
    parser.add_argument("--quality", type=int, default=23, help="x264's constant rate factor; less is better")
    parser.add_argument(
        "--spec",
        type=Path,
        help="render the JSON that an earlier clip wrote, which says what the options of a scene say",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
