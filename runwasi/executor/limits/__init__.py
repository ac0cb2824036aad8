"""Translates the spec's resources into settings of cgroup version 1, version 2 and systemd."""
