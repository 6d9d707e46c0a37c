"""What a job on a cluster does where actors die or none is free, and the recipe for Kubernetes; without Ray."""

import re
from types import SimpleNamespace

import pytest
import yaml

from infant_fer.errors import ClusterError
from infant_fer.workers import Job, cluster
from tests.conftest import ROOT
from tests.core.test_workers import load, lost, times_ten


def test_the_recipe_for_kubernetes_keeps_the_dashboard_that_submits_its_job():
    (recipe,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "cluster.md").read_text("utf-8"), re.DOTALL)
    spec = yaml.safe_load(recipe)["spec"]
    assert spec["entrypoint"].startswith("infant-fer read ")
    groups = spec["rayClusterSpec"]
    assert groups["headGroupSpec"]["rayStartParams"].get("include-dashboard", "true") == "true"
    for group in (groups["headGroupSpec"], *groups["workerGroupSpecs"]):
        (container,) = group["template"]["spec"]["containers"]
        assert container["volumeMounts"] == [{"name": "data", "mountPath": "/data"}]


class DeadActors:
    """Ray as a job sees it, whose actors all die: only the results in `done` came before."""

    class Gone(Exception):
        pass

    exceptions = SimpleNamespace(RayActorError=Gone, ObjectLostError=Gone, RayTaskError=ZeroDivisionError)

    def __init__(self, done: dict):
        self.done = done

    def wait(self, references: list, timeout: float) -> tuple[list, list]:
        return references[-1:], references[:-1]  # in any order

    def get(self, reference: str) -> tuple[int, int]:
        if reference not in self.done:
            raise self.Gone
        return self.done[reference]


def test_only_the_item_at_which_the_actors_of_a_cluster_die_is_given_up(monkeypatch):
    run = cluster._Run(ray=DeadActors({"first": (30, 1)}), job=Job(load, times_ten, lost), items=iter(()))
    monkeypatch.setattr(run, "_add_actors", lambda: None)
    run.again = [(1, 5), (2, 6)]
    for death in range(1, cluster.MAX_DEATHS + 1):
        assert run.again == [(1, 5), (2, 6)]
        run.actors = {"actor": 3}
        references = zip(("first", f"second {death}", f"third {death}"), [(0, 3), *run.again], strict=True)
        run.in_hand, run.again = {name: (*each, "actor") for name, each in references}, []
        run._collect()
        assert (run.actors, run.in_hand) == ({}, {})
    assert (run.finished, run.again) == ({0: (30, 1), 1: (-5, 0)}, [(2, 6)])


def test_a_cluster_without_a_worker_names_no_option_that_a_command_lacks():
    run = cluster._Run(ray=None, job=Job(load, times_ten, lost), items=iter(()), idle_s=cluster.PATIENCE_S)
    with pytest.raises(ClusterError, match=r"no free CPU for 120 s\. Start a worker and run the command again\.$"):
        run._wait_for_actors()
