"""Mounts as a command line makes and undoes them: what earlier ones bring, and life without a mount namespace."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from devtools.bundle import Bundle, in_user_namespace
from tests.integration.conftest import BundleMaker
from tests.support.detached import Detached
from tests.support.runtime import Runtime

Json = Any


def bind(source: Path, destination: str, *options: str) -> Json:
    return {"destination": destination, "type": "bind", "source": str(source), "options": ["bind", *options]}


def without_mount_namespace(made: Bundle) -> Bundle:
    """Have the container mount into the caller's namespace."""
    made.linux["namespaces"] = [entry for entry in made.linux["namespaces"] if entry["type"] != "mount"]
    for member in ("maskedPaths", "readonlyPaths"):
        made.linux.pop(member)
    return made.write()


def mounted_in(made: Bundle) -> list[str]:
    """The mount points below the bundle, as the caller sees them."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line.split()[4] for line in lines if f" {made.path}" in line]


def test_a_source_may_be_what_an_earlier_mount_brought(
    oci_runtime: Runtime, bundle: BundleMaker, folder: Path, container_id: str
) -> None:
    _bind_from_a_volume(oci_runtime, bundle(["cat", "/copy"]), folder, container_id)


def test_a_source_may_be_what_an_earlier_mount_brought_in_a_user_namespace(
    runwasi: Runtime, bundle: BundleMaker, folder: Path, container_id: str
) -> None:
    _bind_from_a_volume(runwasi, in_user_namespace(bundle(["cat", "/copy"])), folder, container_id)


def _bind_from_a_volume(runtime: Runtime, made: Bundle, folder: Path, container_id: str) -> None:
    volume = folder / "volume"
    volume.mkdir()
    (volume / "file").write_text("of the volume\n")
    made.config["mounts"] += [bind(volume, "/volume"), bind(made.rootfs / "volume/file", "/copy")]
    assert runtime("run", "--bundle", made.write().path, container_id).stdout == "of the volume\n"


@pytest.mark.parametrize(("userns", "owner"), [(False, "5000"), (True, "0")])
def test_the_ids_of_a_source_that_an_earlier_mount_brought_are_mapped(
    runwasi: Runtime, bundle: BundleMaker, folder: Path, container_id: str, userns: bool, owner: str
) -> None:
    made = bundle(["stat", "-c", "%u", "/copy/file"])
    first = 5000
    if userns:
        in_user_namespace(made)
        first = made.linux["uidMappings"][0]["hostID"]
    volume = folder / "volume"
    (volume / "inner").mkdir(parents=True)
    (volume / "inner/file").touch()
    mapping = [{"containerID": 0, "hostID": first, "size": 100}]
    mapped = bind(made.rootfs / "volume/inner", "/copy", "idmap")
    mapped |= {"uidMappings": mapping, "gidMappings": mapping}
    made.config["mounts"] += [bind(volume, "/volume"), mapped]
    assert runwasi("run", "--bundle", made.write().path, container_id).stdout == f"{owner}\n"


def test_a_bind_of_a_covered_source_mounts_the_mount_that_covers_it(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["ls", "/copy"])
    (made.rootfs / "root/below").touch()
    made.config["mounts"] += [
        {"destination": "/root", "type": "tmpfs", "source": "tmpfs"},
        {"destination": "/root/above", "type": "tmpfs", "source": "tmpfs"},
        bind(made.rootfs / "root", "/copy", "rbind"),
    ]
    assert oci_runtime("run", "--bundle", made.write().path, container_id).stdout == "above\n"


def test_a_source_that_nothing_brings_is_named(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    for userns in (False, True):
        made = bundle(["true"])
        if userns:
            in_user_namespace(made)
        made.config["mounts"] = [*made.config["mounts"], bind(made.rootfs / "nowhere", "/copy")]
        refused = runwasi("create", "--bundle", made.write().path, container_id, check=False)
        assert refused.returncode == 1
        assert "/rootfs/nowhere: No such file or directory ($.mounts[6].source)" in refused.stderr


@pytest.mark.parametrize("userns", [False, True], ids=["", "userns"])
def test_a_link_of_the_image_leads_no_source_out_of_the_root(
    runwasi: Runtime, bundle: BundleMaker, folder: Path, container_id: str, userns: bool
) -> None:
    """Unlike with runc, which would bind the host's file."""
    (folder / "secret").write_text("of the host\n")
    made = bundle(["cat", "/copy"])
    (made.rootfs / "outside").symlink_to(folder)
    (made.rootfs / str(folder)[1:]).mkdir(parents=True)
    (made.rootfs / str(folder)[1:] / "secret").write_text("of the image\n")
    if userns:
        in_user_namespace(made)
    made.config["mounts"].append(bind(made.rootfs / "outside/secret", "/copy"))
    assert runwasi("run", "--bundle", made.write().path, container_id).stdout == "of the image\n"


def test_mounts_reached_through_links_go_with_the_container(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    """Also when the container has turned the link elsewhere since."""
    made = without_mount_namespace(bundle(["sh", "-c", "rm /link; ln -s /nowhere /link"]))
    (made.rootfs / "link").symlink_to("/tmp")
    made.config["mounts"].append({"destination": "/link/made", "type": "tmpfs", "source": "tmpfs"})
    container = Detached(runwasi, made.write(), container_id)
    container.create()
    assert f"{made.rootfs}/tmp/made" in mounted_in(made)
    runwasi("start", container_id)
    container.wait()
    runwasi("delete", container_id)
    assert mounted_in(made) == []


@pytest.mark.parametrize("program", ["true", "/no/such/program"])
def test_earlier_mounts_on_the_rootfs_stay(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, program: str
) -> None:
    """A rootfs that is a mount of its own, and when creating fails as well."""
    made = without_mount_namespace(bundle([program]))
    subprocess.run(["mount", "--bind", made.rootfs, made.rootfs], check=True)
    try:
        runwasi("run", "--bundle", made.path, container_id, check=program == "true")
        assert mounted_in(made) == [str(made.rootfs)]
    finally:
        subprocess.run(["umount", "--recursive", made.rootfs], check=True)
