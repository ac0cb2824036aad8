"""What containerd starts: it asks for a pod's server, cleans up after one, or tells about the shim."""
