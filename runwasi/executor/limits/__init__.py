"""The spec's resources as settings of cgroup version 1, version 2 and systemd."""
