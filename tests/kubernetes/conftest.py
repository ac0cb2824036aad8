"""One cluster for all tests, and a namespace of its own for each."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from devtools.cluster import PROGRAMS, Cluster, running_cluster
from devtools.cluster_files import PAUSE_IMAGE
from devtools.cluster_node import become_the_only_node
from devtools.folders import remove_folder
from devtools.kubectl import Kubectl
from devtools.places import ROOT
from tests.kubernetes.images import write_images
from tests.support.leak_guard import _nothing_left_in_the_end  # noqa: F401  a fixture

# `make test-kubernetes` builds the programs; without them there is nothing here to collect.
collect_ignore_glob = [] if PROGRAMS.exists() else ["test_*"]

_numbers = itertools.count(1)
_only_node = pytest.StashKey[IO[str]]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Wait for another run of these tests on this machine, before any test's own time begins."""
    ours = Path(__file__).parent
    if not session.config.option.collectonly and any(ours in item.path.parents for item in session.items):
        session.config.stash[_only_node] = become_the_only_node()


@pytest.fixture(scope="session")
def session_folder(session_name: str) -> Iterator[Path]:
    """A folder with a short path, for sockets, that goes with the session."""
    folder = Path(tempfile.mkdtemp(prefix=f"{session_name}-"))
    folder.chmod(0o711)  # volumes are below it, and containers with users of their own reach them
    yield folder
    remove_folder(folder)


@pytest.fixture(scope="session")
def cluster(session_name: str, session_folder: Path) -> Iterator[Cluster]:
    """A cluster of one node with our runtimes beside runc's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUNWASI_DAEMON_SOCKET", str(session_folder / "daemon/manager.sock"))
        patch.setenv("RUNWASI_DAEMON", "managed")
        images = write_images(session_folder / "images", PAUSE_IMAGE)
        with running_cluster(session_folder, name=session_name, images=images) as cluster:
            cluster.kubectl("apply", f"--filename={ROOT / 'packaging/kubernetes/runtimeclass.yaml'}")
            yield cluster


@pytest.fixture
def kubectl(cluster: Cluster) -> Iterator[Kubectl]:
    """kubectl in a fresh namespace, whose pods are gone in the end."""
    name = f"test-{next(_numbers)}"
    cluster.kubectl("create", "namespace", name)
    within = cluster.kubectl.within(name)
    within.wait("serviceaccount/default", "create")
    yield within
    within("delete", "deployments,jobs,pods", "--all", "--grace-period=1", "--wait")
    cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(params=["wasmtime", "wasmtimed"])
def runtime_class(request: pytest.FixtureRequest) -> str:
    """The RuntimeClass with a server for each pod, and the one whose pods the node daemon serves itself."""
    name: str = request.param
    return name
