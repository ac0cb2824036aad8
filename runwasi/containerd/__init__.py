"""What we ask of containerd itself: images, content, leases."""
