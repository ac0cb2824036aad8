"""What runwasi asks of containerd itself: containers, images, content and leases, over its gRPC socket."""
