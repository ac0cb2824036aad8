"""Put runwasi into the configuration of what calls it: containerd, Docker, Podman, Kubernetes, systemd."""
