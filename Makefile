# runwasi: `make demo` shows it working, `make test` proves it. Both bring what they need; see `make help`.

PREFIX ?= /usr/local
PYTHON = $(shell scripts/find-python)
VENV = .venv/bin
IMAGE_REPO ?= localhost
CTR ?= ctr
SITE_PACKAGES = $(shell $(VENV)/python -c 'import sysconfig; print(sysconfig.get_path("platlib"))')

.DELETE_ON_ERROR:
.PHONY: help demo test site fuzz lint test-unit test-integration test-modes test-vm test-kubernetes test-debian13 bench coverage \
    test-docker \
    lock install uninstall clean test-image test-image/oci load load/oci packages-build packages-demo packages-unit packages-test \
    packages-bench packages-kubernetes peers

help: ## Print this list
	@grep -hE '^[a-z0-9/-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

# --- what a user asks for -------------------------------------------------------------------------------------

demo: packages-demo build/bin build/wasi-demo-app.wasm build/cache/containerd-sid ## Run a wasm and a native container under a private containerd
	$(VENV)/python -m scripts.demo

install: packages-build ## Install under PREFIX (/usr/local), isolated from the system's Python, with EXTRAS (wasmer, metrics)
	scripts/install add $(PREFIX) $(EXTRAS)

uninstall: ## Remove what `make install` wrote
	scripts/install remove $(PREFIX)

.PHONY: bundle packages-bundle
bundle: packages-bundle .venv/ready ## Make dist/runwasi-VERSION-linux-ARCH.tar.xz, which needs no Python on the node; ARCH, EXTRAS
	$(VENV)/python -m scripts.bundle $(if $(ARCH),--arch $(ARCH)) $(EXTRAS)

.PHONY: installer-image
installer-image: bundle ## Make dist/runwasi-node-installer-VERSION-ARCH.tar, the image of packaging/kubernetes; ARCH
	$(VENV)/python -m scripts.node_installer $(if $(ARCH),--arch $(ARCH))

.PHONY: deb
deb: bundle ## Make dist/runwasi_VERSION_ARCH.deb from the bundle, and runwasi-systemd_VERSION_all.deb; ARCH, EXTRAS
	$(VENV)/python -m scripts.deb --arch $(or $(ARCH),$$(dpkg --print-architecture))

test-image: dist/img.tar ## Make the demo's image, with the module as a file in it

test-image/oci: dist/img-oci.tar dist/img-oci-artifact.tar ## Make the demo's image of wasm layers, and its OCI artifact

load: dist/img.tar ## Import the demo's image into the system's containerd
	$(CTR) image import $<

load/oci: dist/img-oci.tar dist/img-oci-artifact.tar ## Import the image of wasm layers and the artifact too
	for archive in $^; do $(CTR) image import --all-platforms $$archive || exit; done

# --- what a developer asks for --------------------------------------------------------------------------------

test: lint test-unit test-integration ## Run lint, type checks, unit and integration tests

lint: .venv/ready ## Check format, lint and types
	$(VENV)/ruff format --check .
	$(VENV)/ruff check .
	$(VENV)/mypy

test-unit: packages-unit .venv/ready build/wasi-demo-app.wasm ## Run the unit tests, and every call of WASI preview 1
	$(VENV)/python -m pytest tests/unit tests/wasi

test-integration: packages-test build/bin build/wasi-demo-app.wasm peers ## Run the tests on the real kernel and containerd, as root
	@test "$$(id -u)" = 0 || { echo "the integration tests make namespaces and cgroups: run them as root" >&2; exit 1; }
	@# Real kernels on a shared machine: what fails is tried once more, alone, and said; a fault fails twice.
	$(VENV)/python -m pytest tests/integration tests/attacks || \
	    $(VENV)/python -m pytest --last-failed tests/integration tests/attacks
	RUNWASI_TESTS_SHIM=normal $(VENV)/python -m pytest $(SHIM_TESTS) || \
	    RUNWASI_TESTS_SHIM=normal $(VENV)/python -m pytest --last-failed $(SHIM_TESTS)
	RUNWASI_TESTS_SHIM=shared $(VENV)/python -m pytest -m "not own_server" $(SHIM_TESTS) || \
	    RUNWASI_TESTS_SHIM=shared $(VENV)/python -m pytest --last-failed -m "not own_server" $(SHIM_TESTS)

# What is about one shim, whoever serves it: again with the node daemon, in both its modes.
SHIM_TESTS = tests/integration/shim $(addprefix tests/integration/containerd/test_, run.py tasks.py)

test-modes: packages-test build/bin build/wasi-demo-app.wasm peers ## Run the long tests, through containerd with the node daemon
	RUNWASI_TESTS_SHIM=normal $(VENV)/python -m pytest $(LONG_SHIM_TESTS)
	RUNWASI_TESTS_SHIM=shared $(VENV)/python -m pytest -m "not own_server" $(LONG_SHIM_TESTS)

# Through containerd and CRI of every release; with no daemon they are in test-integration.
LONG_SHIM_TESTS = $(addprefix tests/integration/, cri confinement/test_command_lines.py containerd/test_client_options.py images/test_run.py)

coverage: packages-test build/bin build/wasi-demo-app.wasm peers ## Report which lines and branches the tests run; TESTS selects tests
	$(VENV)/python -m scripts.measure_coverage $(TESTS)

test-vm: packages-test build/bin build/wasi-demo-app.wasm ## Run the tests of cgroup v2, criu and systemd in virtual machines
	scripts/vm test

.PHONY: test-arm64
test-arm64: ARCH = arm64
test-arm64: packages-unit build/wasi-demo-app.wasm bundle ## Run the tests that depend on the architecture on an emulated arm64 machine
	scripts/vm arm64

.PHONY: faults lives soak
faults: packages-test build/bin build/wasi-demo-app.wasm ## Fail every system call of the commands and of a reload in turn, and write docs/faults.md
	scripts/install add $(CURDIR)/build/faults
	RUNWASI_BIN=$(CURDIR)/build/faults/bin $(VENV)/python -m scripts.faults --write --jobs $$(nproc) $(FAULTS)

soak: packages-test build/bin build/wasi-demo-app.wasm ## Walk at random through both modes for MINUTES (30) with SEED, and compare with a model
	$(VENV)/python -m scripts.soak --minutes $(or $(MINUTES),30) $(if $(SEED),--seed $(SEED)) $(SOAK)

lives: packages-test build/bin build/wasi-demo-app.wasm ## Run many container lives in both modes; report leaks and the daemon's memory
	for mode in normal shared; do $(VENV)/python -m scripts.soak.lives --mode $$mode $(LIVES) || exit; done

test-kubernetes: packages-kubernetes installer-image build/bin build/wasi-demo-app.wasm build/cache/containerd-sid build/cache/etcd build/cache/kubernetes ## Run the tests in a Kubernetes of one node; build it the first time
	$(VENV)/python -m pytest tests/kubernetes

test-docker: packages-test build/bin build/wasi-demo-app.wasm build/cache/containerd-sid build/cache/docker-sid build/cache/docker-cli-sid ## Run the tests in the newest Docker, with its image store for wasm
	$(VENV)/python -m pytest tests/docker

.PHONY: test-bundle test-bundle/installed
test-bundle: packages-test packages-deb build/wasi-demo-app.wasm bundle build/cache/debian-bookworm build/cache/debian-trixie ## Make the bundle, and run it in a root of busybox alone, in Debians without Python, and through containerd
	$(VENV)/python -m pytest tests/release/test_bundle.py
	$(MAKE) test-bundle/installed

test-bundle/installed:
	rm -rf --one-file-system build/bundle && mkdir -p build/bundle
	tar -xJf dist/runwasi-$$($(VENV)/python -c 'import runwasi; print(runwasi.__version__)')-linux-$$(dpkg --print-architecture).tar.xz \
	    --strip-components 1 -C build/bundle
	build/bundle/install add $(CURDIR)/build/bundle/installed
	RUNWASI_BIN=$(CURDIR)/build/bundle/installed/bin $(VENV)/python -m pytest $(BUNDLE_TESTS)

# What shows a shim, a server of its own, and the command line, as installed from the bundle.
BUNDLE_TESTS = tests/integration/containerd/test_run.py tests/integration/cli/test_run.py

.PHONY: test-deb packages-deb
test-deb: packages-deb deb build/wasi-demo-app.wasm build/cache/debian-bookworm build/cache/debian-trixie ## Make the Debian packages, and install, upgrade and purge them in Debian 12 and 13
	lintian --fail-on error dist/runwasi*_*.deb
	$(VENV)/python -m pytest tests/release/test_packages.py
	$(VENV)/python -m tests.support.newer_packages build/newer-packages
	scripts/vm systemd -- tests/vm/packages

.PHONY: release packages-release
release: packages-release .venv/ready build/wasi-demo-app.wasm build/cache/debian-bookworm build/cache/debian-trixie ## Build a release into dist, twice, compare the two and test one; RELEASE=--rehearse to try it out
	$(VENV)/python -m scripts.release $(RELEASE)
	lintian --fail-on error dist/runwasi*_*.deb
	$(VENV)/python -m pytest tests/release
	$(MAKE) test-bundle/installed

test-debian13: ## Run `make demo` and the unit tests in a root of Debian 13
	scripts/packages root
	scripts/debian-root trixie sh -c 'make demo && make test-unit'

.PHONY: test-podman test-podman/inside
test-podman: ## Run the tests of Podman with Podman 5, in a root of Debian 13
	scripts/packages root
	scripts/debian-root trixie make test-podman/inside

test-podman/inside: packages-test build/bin build/wasi-demo-app.wasm
	podman --version
	$(VENV)/python -m pytest tests/integration/cli/test_docker_podman.py -k podman-

fuzz: .venv/ready ## Fuzz everything that reads bytes, each target for SECONDS (60); TARGETS selects targets
	scripts/packages build wasm fuzz
	$(VENV)/pip install --quiet --disable-pip-version-check --constraint constraints-dev.txt --editable '.[dev,fuzz]'
	$(VENV)/python -m tests.fuzz --seconds $(or $(SECONDS),60) $(TARGETS)

site: .venv/ready ## Build the documentation site into build/site/html
	$(VENV)/python -m scripts.site

bench: packages-test packages-bench build/bin build/wasi-demo-app.wasm ## Measure against the peers and write docs/benchmarks.md
	scripts/install add $(CURDIR)/build/bench
	RUNWASI_BIN=$(CURDIR)/build/bench/bin $(VENV)/python -m scripts.bench --write $(BENCH)

lock: ## Pin the newest development tools in constraints-dev.txt
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/pip install --quiet --disable-pip-version-check --editable '.[dev,fuzz]'
	(sed -n '/^#/p' constraints-dev.txt; build/lock/bin/pip freeze --exclude-editable --exclude setuptools) > build/lock/pins
	mv build/lock/pins constraints-dev.txt

clean: ## Remove what was built, but not the virtual environment
	rm -rf --one-file-system build dist

# --- what those need ------------------------------------------------------------------------------------------

packages-build:
	@scripts/packages build

packages-bundle:
	@scripts/packages build bundle $(if $(filter arm64,$(ARCH)),cross-arm64)

packages-deb:
	@scripts/packages build wasm host unit bundle deb

packages-release:
	@scripts/packages build wasm host unit test bundle cross-arm64 deb

packages-demo:
	@scripts/packages build wasm host

packages-unit:
	@scripts/packages build wasm host unit

packages-bench:
	@scripts/packages bench

packages-test:
	@scripts/packages build wasm host unit test

packages-kubernetes:
	@scripts/packages build wasm host unit kubernetes

.venv/ready: pyproject.toml constraints-dev.txt | packages-build
	test -x $(VENV)/python || $(PYTHON) -m venv .venv
	@# Twice quiet: only its errors, not how it means to build python-prctl one day.
	$(VENV)/pip install -qq --disable-pip-version-check --constraint constraints-dev.txt --editable '.[dev]'
	touch $@

build/bin: scripts/launchers.py runwasi/shim/client/client.c .venv/ready
	$(PYTHON) -IS scripts/launchers.py compile --into build/client
	$(PYTHON) -IS scripts/launchers.py write --python $$(readlink -f $(VENV)/python) --bin $@ --path $(CURDIR) --path $(SITE_PACKAGES) --client build/client
	touch $@

dist/img.tar: FORM = --name wasi-demo-app --as-files
dist/img-oci.tar: FORM = --name wasi-demo-oci
dist/img-oci-artifact.tar: FORM = --name wasi-demo-oci-artifact --as-artifact
dist/img.tar dist/img-oci.tar dist/img-oci-artifact.tar: build/wasi-demo-app.wasm build/bin
	mkdir -p $(@D)
	build/bin/oci-tar-builder --repo $(IMAGE_REPO) --tag latest --module $< --out-path $@ $(FORM)

# Releases newer than this system's, and Docker, unpacked beside it and not installed.
peers: build/cache/containerd-trixie build/cache/containerd-sid build/cache/docker

build/cache/docker:
	. /etc/os-release; scripts/debian-package $$VERSION_CODENAME docker.io $@

build/cache/containerd-%:
	scripts/debian-package $* containerd $@

build/cache/docker-sid:
	scripts/debian-package sid docker.io $@

build/cache/docker-cli-sid:
	scripts/debian-package sid docker-cli $@

build/cache/debian-%: scripts/debian-base
	rm -rf --one-file-system $@
	scripts/debian-base $* $@ mount containerd runc busybox-static

build/cache/etcd:
	scripts/debian-package sid etcd-server $@

build/cache/kubernetes: | .venv/ready
	scripts/kubernetes $@

build/wasi-demo-app.wasm: $(wildcard wasi-demo-app/*.c) | packages-demo
	mkdir -p $(@D)
	clang --target=wasm32-wasi -O2 -Wall -Wextra -Werror -o $@ $^
