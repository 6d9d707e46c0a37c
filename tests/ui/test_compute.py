"""Who computes when: as many at a time as may, in the order of arrival plus patience."""

import threading

import pytest
import torch

from infant_fer.ui import compute
from infant_fer.ui.compute import FRAME, MAP, PHOTO, SharedAnalyzer, Turns
from tests.conftest import EXAMPLES
from tests.ui.test_sessions import wait_until


def test_frames_go_before_photos_and_photos_before_maps():
    turns, order, first = Turns(places=1), [], threading.Event()

    def compute(name: str, patience: float) -> None:
        with turns.turn(patience):
            order.append(name)
            assert first.wait(20)

    threads = []
    for name, patience in (("first", MAP), ("map", MAP), ("photo", PHOTO), ("frame", FRAME)):
        threads.append(threading.Thread(target=compute, args=(name, patience)))
        threads[-1].start()
        waiting = len(threads) - 1
        wait_until(lambda waiting=waiting: order == ["first"] and len(turns._waiting) == waiting)
    first.set()
    for thread in threads:
        thread.join(20)
    assert order == ["first", "frame", "photo", "map"]


def test_a_place_is_free_again_after_a_fault():
    turns = Turns(places=2)
    for _ in range(5):
        try:
            with turns.turn():
                raise ValueError
        except ValueError:
            pass
    assert turns._free == 2


def test_a_map_leaves_its_place_between_its_steps(analyzer):
    shared = SharedAnalyzer(analyzer.face_detector, analyzer.classifier)
    report = shared.analyze(EXAMPLES / "smile.jpg")
    steps = shared.explain_steps(report)
    assert next(steps).faces[0].explanation is not None
    assert shared.analyze(EXAMPLES / "smile.jpg").to_json() == report.to_json()
    steps.close()


@pytest.mark.parametrize(
    ("patience", "others", "threads"), [(MAP, 0, 3), (MAP, 1, 1), (PHOTO, 0, 1), (FRAME, 0, 1), (FRAME, 1, 1)]
)
def test_only_a_map_that_computes_alone_has_all_threads(monkeypatch, patience, others, threads):
    monkeypatch.setattr(compute, "THREADS", 3)
    before, turns, go = torch.get_num_threads(), Turns(places=2), threading.Event()

    def other() -> None:
        with turns.turn():
            assert go.wait(20)

    for _ in range(others):
        threading.Thread(target=other).start()
    wait_until(lambda: turns._free == 2 - others)
    with turns.turn(patience):
        assert torch.get_num_threads() == threads
    assert torch.get_num_threads() == 3
    go.set()
    torch.set_num_threads(before)
