"""A job on a real Ray cluster of two nodes: the bytes of one process, whatever dies."""

import importlib.util
import os
import time
from pathlib import Path

import numpy as np
import pytest

from infant_fer.batch import PhotoFile, ReadSettings, read_files
from infant_fer.errors import ClusterError, ImageError
from infant_fer.images import Photo
from infant_fer.report import Report
from infant_fer.video import __main__ as sessions_command
from infant_fer.workers import Job, cluster, spread
from tests.conftest import free_ports
from tests.video.test_sessions import files_in, read_here, session_clips

pytestmark = pytest.mark.slow
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")
COUNT = 30


class Reader:
    """Finds no face, a while after it has noted the file's name."""

    def __init__(self, log: Path):
        self.log = log

    def analyze(self, path: Path) -> Report:
        with self.log.open("a") as stream:
            stream.write(f"{path.name}\n")
        time.sleep(0.2)
        if path.name == "13.jpg":
            raise ImageError("13.jpg cannot be read.")
        return Report(Photo(np.zeros((4, 4, 3), np.uint8), (4, 4)), (), ("No face was found.",), "none")


class Load:
    """Return the reader in a worker."""

    def __init__(self, log: Path):
        self.log = log

    def __call__(self) -> Reader:
        return Reader(self.log)


def agent_ports(nodes: int) -> list[dict[str, int]]:
    """Return free ports of each node's agents: it need not wait for them to choose some, which it does for 30 s at most."""
    names = ("metrics_agent_port", "dashboard_agent_listen_port", "runtime_env_agent_port", "metrics_export_port")
    ports = iter(free_ports(nodes * len(names)))
    return [{name: next(ports) for name in names} for _ in range(nodes)]


@pytest.fixture(scope="module")
def nodes():
    """Yield a cluster of two nodes of one CPU each, the second node, and the ports of a third one's agents."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    for name in ("raylet_start_wait_time_s", "worker_register_timeout_seconds"):
        os.environ[f"RAY_{name}"] = "180"  # a busy computer starts nodes slowly
    from ray.cluster_utils import Cluster

    first, of_second, of_third = agent_ports(3)
    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, **first})
    second = started.add_node(num_cpus=1, **of_second)
    yield started, second, of_third
    started.shutdown()


@needs_ray
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_node_that_dies_costs_nothing_and_at_most_what_it_had_in_hand(nodes, tmp_path, monkeypatch, capsys):
    started, second, _ = nodes
    files = [PhotoFile(tmp_path / f"{number}.jpg", f"{number}.jpg") for number in range(COUNT)]
    logs = {name: tmp_path / f"{name}.log" for name in ("one", "ray")}

    def run(name: str, settings: ReadSettings) -> None:
        outputs = {kind: tmp_path / f"{name}.{kind}" for kind in ("json", "csv", "html")}
        assert read_files(Load(logs[name]), files, outputs, settings) == COUNT - 1

    run("one", ReadSettings())
    add = cluster._Run._collect
    killed = []

    def collect_and_kill(self) -> None:
        add(self)
        done = self.taken - len(self.in_hand)
        if done >= COUNT // 2 and not killed:
            killed.append(done)
            started.remove_node(second, allow_graceful=False)

    monkeypatch.setattr(cluster._Run, "_collect", collect_and_kill)
    monkeypatch.setattr(cluster, "WAIT_S", 1.0)
    run("ray", ReadSettings(cluster=started.address))
    assert killed
    assert "13.jpg cannot be read." in capsys.readouterr().err
    for kind in ("json", "csv", "html"):
        assert (tmp_path / f"one.{kind}").read_bytes() == (tmp_path / f"ray.{kind}").read_bytes()
    read = logs["ray"].read_text().split()
    assert set(read) == {file.path.name for file in files}
    assert len(read) <= 1.1 * COUNT


@needs_ray
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")
def test_sessions_on_a_cluster_are_those_of_one_process_when_a_node_dies(
    nodes, analyzer, tmp_path, monkeypatch, capsys
):
    started, _, ports = nodes
    other = started.add_node(num_cpus=1, **ports)
    clips, spread_items, killed = session_clips(tmp_path / "clips"), sessions_command.spread, []

    def spread_and_kill(*arguments):
        for result in spread_items(*arguments):
            if not killed:
                started.remove_node(other, allow_graceful=False)
                killed.append(other)
            yield result

    monkeypatch.setattr(sessions_command, "spread", spread_and_kill)
    monkeypatch.setattr(cluster, "WAIT_S", 1.0)
    assert sessions_command.main([str(clips), "--out", str(tmp_path / "ray"), "--ray", started.address]) == 0
    assert killed
    assert "3 written, 0 skipped because they are whole, 0 failed." in capsys.readouterr().err
    assert files_in(tmp_path / "ray") == read_here(analyzer, clips, tmp_path / "one", monkeypatch)


@needs_ray
def test_what_an_actor_raises_is_raised_here(nodes):
    started, *_ = nodes
    with pytest.raises(ImageError, match="nothing to load"):
        list(spread(Job(refuse, add, add), [1, 2], cluster=started.address))


def refuse() -> int:
    raise ImageError("nothing to load")


def add(first: int, second: int = 0) -> int:
    return first + second


@needs_ray
def test_an_address_without_a_cluster_is_one_sentence():
    with pytest.raises(ClusterError, match=r"No Ray cluster answers at 127\.0\.0\.1:9"):
        list(spread(Job(refuse, add, add), [1], cluster="127.0.0.1:9"))


@needs_ray
def test_a_node_that_does_not_start_is_one_sentence(monkeypatch):
    import ray

    def init(**options):
        raise Exception("The current node timed out during startup.\nSee the logs.")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(
        ClusterError, match=r"^No Ray cluster could be joined or started here: The current node timed out.*startup\.$"
    ):
        list(spread(Job(refuse, add, add), [1], cluster="auto"))


def test_without_ray_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(ClusterError, match=r"pip install -r requirements-cluster\.txt"):
        list(spread(Job(refuse, add, add), [1], cluster="auto"))
