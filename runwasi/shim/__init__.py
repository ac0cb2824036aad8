"""The containerd shim: it translates between containerd's task API and the executor."""
