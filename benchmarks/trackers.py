"""Compare ways to follow faces, `python -m benchmarks.trackers [--infants N]`: this package's, and those of `trackers`.

`pip install trackers` (Roboflow, Apache-2.0) for the comparison; the package itself does not need it. The clips are rendered: an
adult-like person passes before an infant, twice. The trackers of the library get the faces of the whole frame in every frame.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.video import ClipFace, matched, rendered_clip
from infant_fer.face_detection import FaceDetector
from infant_fer.metrics import Proportion
from infant_fer.video.analysis import VideoSettings
from infant_fer.video.reading import ClipReader
from infant_fer.video.tracking import FaceTracker

Update = Callable[[float, np.ndarray], list[ClipFace]]  # of one clip: from a time and a frame to its faces
CLEAR = 0.9  # share of a face that must be visible for it to count as missed


def main() -> None:
    """Print, for each tracker, the share of visible faces that it followed, exchanges of numbers, and the time for a frame."""
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("--infants", type=int, default=3)
    parser.add_argument("--clips", type=Path, help="folder that keeps the rendered clips")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        clips = [rendered_clip("two", number, options.clips or Path(temporary)) for number in range(options.infants)]
        for name, start in trackers(FaceDetector()).items():
            print(f"{name:16} {measured(start, clips)}", flush=True)


def trackers(detector: FaceDetector) -> dict[str, Callable[[], Update]]:
    """Return how each tracker is started anew for a clip. A lost face is waited for one second by all of them."""
    from supervision import Detections
    from trackers import ByteTrackTracker, OCSORTTracker, SORTTracker

    def own() -> Update:
        tracker = FaceTracker(detector, VideoSettings().max_persons)
        return lambda time_s, rgb: [ClipFace(number, face.box_xyxy) for number, face in tracker.update(time_s, rgb)]

    def library(kind: type) -> Callable[[], Update]:
        def start() -> Update:
            tracker = kind(frame_rate=25.0, lost_track_buffer=30)  # of its frames of 1/30 s

            def update(time_s: float, rgb: np.ndarray) -> list[ClipFace]:
                boxes = [face.box_xyxy for face in detector.find(rgb, thorough=False)]
                found = Detections(np.array(boxes, float).reshape(-1, 4), confidence=np.ones(len(boxes)))
                tracked = tracker.update(found)
                return [
                    ClipFace(int(number), tuple(box))
                    for box, number in zip(tracked.xyxy.tolist(), tracked.tracker_id, strict=True)
                    if number >= 0
                ]

            return update

        return start

    kinds = {"ByteTrack": ByteTrackTracker, "OC-SORT": OCSORTTracker, "SORT": SORTTracker}
    return {"infant_fer": own} | {name: library(kind) for name, kind in kinds.items()}


def measured(start: Callable[[], Update], clips: list[Path]) -> str:
    """Return one line: what of the visible faces was followed, how often a person's number changed, and the time for a frame."""
    followed, infants, switches, seconds, n_frames = [], [], 0, 0.0, 0
    for number, clip in enumerate(clips):
        with clip.with_name(clip.stem + ".truth.csv").open(newline="") as stream:
            truth: dict[float, list[dict]] = defaultdict(list)
            for row in csv.DictReader(stream):
                truth[round(float(row["time_s"]), 3)].append(row)
        held: dict[str, int] = {}
        update = start()
        with ClipReader(clip) as reader:
            for frame in reader.frames():
                began = time.perf_counter()
                faces = update(frame.time_s, frame.rgb)
                seconds, n_frames = seconds + time.perf_counter() - began, n_frames + 1
                rows = truth[round(frame.time_s, 3)]
                for row, face in zip(rows, matched(rows, faces), strict=True):
                    if float(row["visible"]) > CLEAR:
                        followed.append(face is not None)
                        infants.append(number)
                    if face is not None and row["seen"] == "1":
                        switches += held.setdefault(row["person"], face.person) != face.person
                        held[row["person"]] = face.person
    share = Proportion.of(np.array(followed), np.array(infants))
    return f"followed {share}; numbers changed {switches} times in {len(clips)} clips; {1000 * seconds / n_frames:.1f} ms a frame"


if __name__ == "__main__":
    main()
