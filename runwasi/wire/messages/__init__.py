"""The messages of containerd, CRIU and ttrpc, one generated module for each file of proto/."""
