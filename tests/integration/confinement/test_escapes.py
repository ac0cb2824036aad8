"""Escapes by hostile images and configurations that succeeded on other runtimes, tried on ours."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import BundleMaker
from tests.support.runtime import Runtime


@pytest.fixture(autouse=True)
def _interpreter_is_unharmed() -> Iterator[None]:
    interpreter = Path(os.path.realpath(sys.executable))
    before = hashlib.sha256(interpreter.read_bytes()).digest()
    yield
    assert hashlib.sha256(interpreter.read_bytes()).digest() == before


def test_an_entrypoint_that_leads_to_the_runtimes_program_is_refused(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    # CVE-2019-5736: an entrypoint of the image's own is in truth the runtime's program, run in the container.
    done = runwasi("run", "--bundle", bundle(["/proc/self/exe"]).path, container_id, check=False)
    assert done.returncode == 1
    assert "container runtime's own program" in done.stderr


def test_a_script_whose_interpreter_leads_to_the_runtimes_program_is_refused(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["/script"], files={"/script": b"#!/proc/self/exe\nprint('in the host's interpreter')\n"})
    done = runwasi("run", "--bundle", made.path, container_id, check=False)
    assert done.returncode == 1
    assert "container runtime's own program" in done.stderr


@pytest.mark.parametrize("number", range(3, 24))
def test_no_descriptor_leads_out_by_the_working_directory(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, number: int
) -> None:
    # CVE-2024-21626: a descriptor of a folder of the host, left open, was a way out.
    made = bundle(["sh", "-c", "pwd; ls -d ../../../../../bin/bash"])
    made.process["cwd"] = f"/proc/self/fd/{number}"
    done = runwasi("run", "--bundle", made.write().path, container_id, check=False)
    assert done.returncode != 0
    assert "/bin/bash\n" not in done.stdout


@pytest.mark.cgroup_v2
def test_only_standard_descriptors_are_open(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    # CVE-2016-9962. The last one is that of the folder being listed.
    done = oci_runtime("run", "--bundle", bundle(["ls", "/proc/self/fd"]).path, container_id)
    assert done.stdout.split() == ["0", "1", "2", "3"]


@pytest.mark.parametrize("path", ["../../outside", "/a/../../outside"])
def test_a_cgroups_path_never_leads_up(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, path: str
) -> None:
    made = bundle(["true"])
    made.linux["cgroupsPath"] = path
    done = runwasi("run", "--bundle", made.write().path, container_id, check=False)
    assert done.returncode == 1
    assert "cgroupsPath" in done.stderr


@pytest.mark.parametrize("name", ["kernel.panic", "vm.overcommit_memory", "net/../kernel/panic"])
def test_a_sysctl_of_the_host_is_refused(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, name: str
) -> None:
    made = bundle(["true"])
    made.linux["sysctl"] = {name: "1"}
    done = runwasi("run", "--bundle", made.write().path, container_id, check=False)
    assert done.returncode == 1
    assert name in done.stderr


def test_a_sysctl_of_a_namespace_that_is_not_the_containers_is_refused(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["true"])
    made.linux["namespaces"] = [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")]
    made.linux["sysctl"] = {"net.ipv4.ip_forward": "0"}
    done = runwasi("run", "--bundle", made.write().path, container_id, check=False)
    assert done.returncode == 1
    assert "net.ipv4.ip_forward" in done.stderr


@pytest.mark.cgroup_v2
def test_the_session_keyring_is_not_the_hosts(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["cat", "/proc/keys"])
    made.linux["maskedPaths"] = []
    done = oci_runtime("run", "--bundle", made.write().path, container_id)
    assert any("_ses" in line and container_id[:20] in line for line in done.stdout.splitlines())


@pytest.mark.cgroup_v2
def test_capabilities_are_exactly_those_listed(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    # CVE-2022-24769 and CVE-2022-29162: leftovers in the inheritable set.
    made = bundle(["grep", "Cap", "/proc/self/status"])
    made.process["capabilities"] = {
        "bounding": ["CAP_KILL"],
        "permitted": ["CAP_KILL"],
        "effective": ["CAP_KILL"],
    }
    done = oci_runtime("run", "--bundle", made.write().path, container_id)
    sets = dict(line.split(":\t") for line in done.stdout.splitlines())
    kill = f"{1 << 5:016x}"
    none = f"{0:016x}"
    assert sets == {"CapInh": none, "CapPrm": kill, "CapEff": kill, "CapBnd": kill, "CapAmb": none}


def test_another_users_capabilities_are_exactly_those_listed(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    """The kernel computes root's sets from the bounding set alone; another user's are those that we set."""
    made = bundle(["grep", "Cap", "/proc/self/status"])
    made.process["user"] = {"uid": 1000, "gid": 1000}
    kept = ("permitted", "effective", "inheritable", "ambient")
    made.process["capabilities"] = {
        "bounding": ["CAP_KILL", "CAP_NET_RAW"],
        **{name: ["CAP_KILL"] for name in kept},
    }
    done = oci_runtime("run", "--bundle", made.write().path, container_id)
    sets = dict(line.split(":\t") for line in done.stdout.splitlines())
    kill, bounding = f"{1 << 5:016x}", f"{1 << 5 | 1 << 13:016x}"
    assert sets == {"CapInh": kill, "CapPrm": kill, "CapEff": kill, "CapBnd": bounding, "CapAmb": kill}


def test_an_image_offering_compiled_code_is_refused(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    # What wasmtime compiles is an ELF file for its own loader; the kernel has no use for it either.
    made = bundle(["/app.cwasm"], files={"/app.cwasm": b"\0wasmtime-aot-not-ours"})
    done = runwasi("run", "--bundle", made.path, container_id, check=False)
    assert done.returncode == 1
    assert "/app.cwasm" in done.stderr
