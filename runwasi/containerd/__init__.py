"""Calls containerd for containers, images, content and leases, over its gRPC socket."""
