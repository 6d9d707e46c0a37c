"""Who computes when: as many at a time as may, in the order of arrival plus patience."""

import threading

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
