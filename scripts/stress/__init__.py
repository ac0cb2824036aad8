"""Many short tasks through a containerd, whatever its release and runtime."""
