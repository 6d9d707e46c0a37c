"""Which face in this frame is which face of the frame before? Follows faces, and numbers persons, without any identity embedding."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from scipy.optimize import linear_sum_assignment

from infant_fer.face import Face
from infant_fer.face_search import distinct

KEY_SECONDS = 0.4  # between detections in the whole frame while everybody who is followed is in sight
SEARCH_SECONDS = 5.0  # between thorough searches, a second or two each, while nobody is in sight
COAST_SECONDS = 1.0  # a face that is not seen for longer ends its track,
COAST_STEPS = 2.5  # unless so many steps between sampled frames take longer
VELOCITY_SECONDS = 0.12  # time constant of the velocity
LEAD_SECONDS = 0.4  # the velocity is trusted for this long
GATE, GATE_GROWTH, MAX_GATE = 1.2, 2.0, 3.0  # largest cost of an assignment, its growth a second unseen, and its limit
NO_MATCH = 1e6
MIN_SIGHTINGS = 3  # frames in which a face must be seen before it counts as a person's
CLEAR_ROLE = 0.7  # mean probability of an infant (or of none) beyond which a track's role is clear


@runtime_checkable
class FollowingDetector(Protocol):
    """Find faces in a frame and near a place; `FaceDetector` is the project's own."""

    def find(self, photo_rgb: np.ndarray, thorough: bool = True) -> list[Face]:
        """Find faces in an (H, W, 3) uint8 frame."""

    def find_near(self, photo_rgb: np.ndarray, box_xyxy: tuple[float, float, float, float], roll: float) -> list[Face]:
        """Find faces round a place where one is expected."""


@dataclass(eq=False)
class _Track:
    """One face that is followed. `velocity` is that of its centre in pixels a second."""

    number: int
    face: Face
    seen_at: float
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(2))

    def expected_box(self, time_s: float) -> tuple[float, float, float, float]:
        shift = self.velocity * min(time_s - self.seen_at, LEAD_SECONDS)
        left, top, right, bottom = self.face.box_xyxy
        return left + shift[0], top + shift[1], right + shift[0], bottom + shift[1]

    def gate(self, time_s: float) -> float:
        return min(GATE + GATE_GROWTH * (time_s - self.seen_at), MAX_GATE)

    def cost(self, face: Face, time_s: float) -> float:
        """Return the distance of the centres in units of the face's size, plus the logarithm of the sizes' ratio."""
        size = max(self.face.height_px, 1.0)
        distance = float(np.linalg.norm(_centre(face.box_xyxy) - _centre(self.expected_box(time_s)))) / size
        return distance + abs(math.log(max(face.height_px, 1.0) / size))

    def update(self, face: Face, time_s: float) -> None:
        elapsed = time_s - self.seen_at
        moved = (_centre(face.box_xyxy) - _centre(self.face.box_xyxy)) / elapsed
        weight = 1 - math.exp(-elapsed / VELOCITY_SECONDS)
        self.velocity = self.velocity + weight * (moved - self.velocity)
        self.face, self.seen_at = face, time_s


class FaceTracker:
    """Follow faces through the frames of one clip, given one after the other.

    Every followed face is detected near the place where its motion leads, rotated upright; the whole frame is searched in
    regular steps and when somebody is missing. Faces and tracks are assigned so that the sum of distances is least
    (Kuhn 1955). `step_s` is the usual time between two frames. Deterministic: no step depends on the computer's speed.
    """

    def __init__(self, detector: FollowingDetector, max_faces: int, step_s: float = 0.0):
        self._detector, self._max_faces = detector, max_faces
        self._coast_s = max(COAST_SECONDS, COAST_STEPS * step_s)
        self._tracks: list[_Track] = []
        self._next_number = 1
        self._looked_at = self._searched_at = -math.inf
        self._surplus: Counter[int] = Counter()  # frames in which at least so many faces were not followed

    @property
    def left_out(self) -> int:
        """Return how many faces at once were not followed, in MIN_SIGHTINGS frames or more, for lack of tracks."""
        return max((count for count, frames in self._surplus.items() if frames >= MIN_SIGHTINGS), default=0)

    def update(self, time_s: float, frame_rgb: np.ndarray) -> list[tuple[int, Face]]:
        """Return the track's number and the face for each face in this frame; a track that is not seen is left out."""
        self._tracks = [track for track in self._tracks if time_s - track.seen_at <= self._coast_s]
        faces = self._faces(time_s, frame_rgb)
        assigned = self._assign(time_s, faces)
        new = [face for index, face in enumerate(faces) if index not in assigned]
        free = self._max_faces - len(self._tracks)
        for face in new[:free]:
            self._tracks.append(_Track(self._next_number, face, time_s))
            self._next_number += 1
        self._surplus.update(range(1, len(new) - free + 1))
        return [(track.number, track.face) for track in self._tracks if track.seen_at == time_s]

    def _faces(self, time_s: float, frame_rgb: np.ndarray) -> list[Face]:
        """Return the distinct faces near the tracks, and those in the whole frame when it is time or somebody is missing."""
        faces: list[Face] = []
        missing = not self._tracks
        for track in self._tracks:
            near = self._detector.find_near(frame_rgb, track.expected_box(time_s), track.face.pose.roll)
            missing |= not any(track.cost(face, time_s) < GATE for face in near)
            faces += distinct(near, faces)
        if missing or time_s - self._looked_at >= KEY_SECONDS:
            self._looked_at = time_s
            search = not self._tracks and time_s - self._searched_at >= SEARCH_SECONDS
            if search:
                self._searched_at = time_s
            whole = self._detector.find(frame_rgb, thorough=search)
            turned = [face for face in whole if any(_opposite(face, near) for near in faces)]
            faces = distinct([*turned, *faces, *whole])
        return faces

    def _assign(self, time_s: float, faces: Sequence[Face]) -> set[int]:
        """Give each track its face of this frame; return the indices of the faces that are taken."""
        costs = np.array([[track.cost(face, time_s) for face in faces] for track in self._tracks])
        if not costs.size:
            return set()
        gates = np.array([track.gate(time_s) for track in self._tracks])[:, None]
        rows, columns = linear_sum_assignment(np.where(costs <= gates, costs, NO_MATCH))
        taken = set()
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            if costs[row, column] <= gates[row, 0]:
                self._tracks[row].update(faces[column], time_s)
                taken.add(column)
        return taken


def _opposite(face: Face, other: Face) -> bool:
    """Return whether two faces are more than 90 degrees apart in roll: a find near a track has no check of which way is up."""
    return abs((face.pose.roll - other.pose.roll + 180) % 360 - 180) > 90


@dataclass(frozen=True)
class Sighting:
    """One track's face in one frame, as far as persons need it: `infant` is the probability of a usable infant's face."""

    track: int
    box_xyxy: tuple[float, float, float, float]
    infant: float | None


@dataclass(eq=False)
class _Person:
    number: int
    track: int = 0
    box_xyxy: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)  # where it was seen last
    seen_at: float = -math.inf
    infant: list[float] = field(default_factory=lambda: [0.0, 0.0])  # sum and count of probabilities


@dataclass(eq=False)
class _NewTrack:
    first_s: float
    seen_at: float = -math.inf
    box_xyxy: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    frames: int = 0  # since it was seen first
    sightings: int = 0
    infant: list[float] = field(default_factory=lambda: [0.0, 0.0])

    def is_recent(self, time_s: float) -> bool:
        return time_s - self.first_s <= 2 * COAST_SECONDS or self.frames <= 2 * MIN_SIGHTINGS


class PersonNumbers:
    """Give tracks the numbers of persons, from 1 in the order of first sight, window by window.

    A face counts once it was seen in three frames. A track that begins after a person was lost continues that person when
    both are infants, or neither is, or it is not clear; of several, the nearest. Tracks beyond `max_persons` get no number.
    """

    def __init__(self, max_persons: int):
        self.max_persons, self.left_out = max_persons, 0
        self._persons: list[_Person] = []
        self._new: dict[int, _NewTrack] = {}
        self._refused: set[int] = set()

    def assign(self, window: Sequence[tuple[float, Sequence[Sighting]]], last: bool = False) -> dict[int, int]:
        """Return the person of each track with a number that is seen in the window: frames as (time, sightings).

        In the `last` window a face counts also when it was seen in all frames since it appeared.
        """
        seen: set[int] = set()
        by_track = {person.track: person for person in self._persons}
        for time_s, sightings in window:
            for new in self._new.values():
                new.frames += 1
            for sighting in sightings:
                seen.add(sighting.track)
                known = by_track.get(sighting.track)
                if known:
                    known.box_xyxy, known.seen_at = sighting.box_xyxy, time_s
                    _add(known.infant, sighting.infant)
                elif sighting.track not in self._refused:
                    new = self._new.setdefault(sighting.track, _NewTrack(time_s, frames=1))
                    new.sightings += 1
                    new.box_xyxy, new.seen_at = sighting.box_xyxy, time_s
                    _add(new.infant, sighting.infant)
        for track, new in sorted(self._new.items(), key=lambda item: (item[1].first_s, item[0])):
            if new.sightings >= MIN_SIGHTINGS or (last and new.sightings == new.frames):
                del self._new[track]
                if (person := self._person_of(track, new)) is not None:
                    by_track[track] = person
        end = window[-1][0]
        self._new = {track: new for track, new in self._new.items() if new.is_recent(end)}
        return {track: person.number for track, person in by_track.items() if track in seen}

    def _person_of(self, track: int, new: _NewTrack) -> _Person | None:
        """Return the lost or new person that a track shows; None when there are too many."""
        role = _role(new.infant)
        lost = [person for person in self._persons if person.seen_at < new.first_s]
        fitting = [person for person in lost if None in (role, _role(person.infant)) or role == _role(person.infant)]
        if fitting:
            person = min(
                fitting, key=lambda each: float(np.linalg.norm(_centre(each.box_xyxy) - _centre(new.box_xyxy)))
            )
        elif len(self._persons) < self.max_persons:
            person = _Person(len(self._persons) + 1)
            self._persons.append(person)
        else:
            self.left_out += 1
            self._refused.add(track)
            return None
        person.track, person.box_xyxy, person.seen_at = track, new.box_xyxy, new.seen_at
        person.infant = [sum(pair) for pair in zip(person.infant, new.infant, strict=True)]
        return person


def _role(infant: Sequence[float]) -> bool | None:
    """Return whether the mean probability is an infant's; None where it is not clear or there is none."""
    total, count = infant
    if not count or 1 - CLEAR_ROLE < total / count < CLEAR_ROLE:
        return None
    return total / count >= CLEAR_ROLE


def _add(infant: list[float], probability: float | None) -> None:
    if probability is not None:
        infant[0] += probability
        infant[1] += 1


def _centre(box_xyxy: tuple[float, float, float, float]) -> np.ndarray:
    left, top, right, bottom = box_xyxy
    return np.array([(left + right) / 2, (top + bottom) / 2])
