"""Shell commands that start a containerd of a root's own, and call it."""

from __future__ import annotations

CONTAINERD = """
mkdir -p /run/c
cat >/run/c/config.toml <<CONFIG
version = 2
root = "/run/c/root"
state = "/run/c/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "/run/c/sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "/run/c/opt"
CONFIG
containerd -c /run/c/config.toml >/run/c/log 2>&1 &
wait_for() {
    for _ in $(seq 300); do
        if eval "$1" >/dev/null 2>&1; then return; fi
        sleep 0.1
    done
    echo "never: $1"
    exit 1
}
tasks() { ctr -a /run/c/sock -n "$RUNWASI_TEST_SESSION" "$@"; }
wait_for "tasks version"
end() {
    tasks task kill -s KILL "$1"
    wait_for "tasks task ls | grep '$1.*STOPPED'"
    tasks task delete "$1" >/dev/null 2>&1 || true  # it passes on the status of who was killed
    tasks container delete "$1"
}
"""
