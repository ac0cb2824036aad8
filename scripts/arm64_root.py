"""Make the files of the arm64 virtual machine: Debian 12's packages and PyPI's wheels for it, unpacked and no more.

Nothing of them runs here. mmdebstrap unpacks the packages with all they depend on, and pip the wheels; python-prctl,
which PyPI has as source only, is Debian's package.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from hashlib import sha256
from pathlib import Path

SUITE = "bookworm"
PYTHON = "3.11"  # the suite's
_KERNEL = "linux-image-cloud-arm64"
_SYSTEM = """
    base-files base-passwd netbase dash bash coreutils diffutils findutils grep gzip hostname mawk procps sed tar
    util-linux mount iproute2 uidmap strace xz-utils
"""
_OURS = "python3 python3-prctl libseccomp2 busybox-static containerd runc"
_COMPILERS = "gcc libc6-dev clang lld wasi-libc libclang-rt-14-dev-wasm32 wabt"
PACKAGES = f"{_KERNEL} {_SYSTEM} {_OURS} {_COMPILERS}".split()
_FOR_TESTS = ("pytest", "pytest-timeout", "hypothesis", "protobuf", "prometheus-client")
_FROM_DEBIAN = ("python-prctl",)
# The tags of the wheels that fit the suite's C library.
_WHEELS = ("manylinux_2_34", "manylinux_2_28", "manylinux_2_17", "manylinux2014")

ROOT = Path(__file__).resolve().parent.parent


def made(cache: Path) -> Path:
    """Return the folder with the machine's root, made the first time: the virtual environment is its /venv."""
    key = sha256(Path(__file__).read_bytes() + (ROOT / "pyproject.toml").read_bytes()).hexdigest()[:12]
    folder = cache / f"arm64-{key}"
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        for former in cache.glob("arm64-*"):
            shutil.rmtree(former)
        _make(cache, folder)
    return folder


def _make(cache: Path, folder: Path) -> None:
    print("vm: unpacking the packages and wheels of arm64", flush=True)
    with tempfile.TemporaryDirectory(dir=cache) as work:
        root = Path(work, "root")
        _unpack_packages(root, Path(work, "apt.conf"))
        # what base-passwd does when it is configured
        for name in ("passwd", "group"):
            shutil.copy(root / f"usr/share/base-passwd/{name}.master", root / f"etc/{name}")
        # as where a checkout below it is reached by the root of another user namespace
        (root / "root").chmod(0o711)
        # what `ctr run --net-host` mounts into a container
        (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
        (root / "etc/resolv.conf").touch()
        _unpack_wheels(root / "venv")
        os.rename(root, folder)


def _unpack_packages(root: Path, settings: Path) -> None:
    """Unpack PACKAGES and what they depend on, from the mirror that this system uses, reached as it does."""
    wanted = ("Acquire::http", "Acquire::https", "Acquire::Check-Valid-Until", "Acquire::Retries")
    dump = _output("apt-config", "dump")
    settings.write_text("".join(f"{line}\n" for line in dump.splitlines() if line.startswith(wanted)))
    targets = _output(
        "apt-get", "indextargets", "--format", "$(ORIGIN) $(CODENAME) $(REPO_URI)", "Created-By: Packages"
    )
    mirror = next(
        uri
        for origin, codename, uri in (line.split() for line in targets.splitlines())
        if origin == "Debian" and "-" not in codename
    )
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    command = [
        *("mmdebstrap", "--quiet", "--mode=root", "--variant=extract", "--architectures=arm64"),
        "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
        *(f"--include={','.join(PACKAGES)}", f"--aptopt={settings}", SUITE, str(root)),
        f"deb [signed-by={keyring}] {mirror} {SUITE} main",
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _unpack_wheels(environment: Path) -> None:
    """Lay out a virtual environment of the suite's interpreter with what runwasi and its tests import."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [*project["dependencies"], *project["optional-dependencies"]["wasmer"], *_FOR_TESTS]
    packages = environment / f"lib/python{PYTHON}/site-packages"
    command = [
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
        *(f"--target={packages}", f"--constraint={ROOT}/constraints-dev.txt", "--only-binary=:all:"),
        *("--python-version", PYTHON, "--implementation=cp", f"--abi=cp{PYTHON.replace('.', '')}"),
        *("--abi=abi3", "--abi=none", *(f"--platform={tag}_aarch64" for tag in _WHEELS)),
        *(name for name in needed if not name.startswith(_FROM_DEBIAN)),
    ]
    subprocess.run(command, check=True)
    for path in (environment.parent / "usr/lib/python3/dist-packages").iterdir():
        if "prctl" in path.name:
            os.rename(path, packages / path.name)
    (environment / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
    (environment / "bin").mkdir()
    for name in ("python", "python3"):
        (environment / "bin" / name).symlink_to(f"/usr/bin/python{PYTHON}")


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
