"""What scripts and tests share: private containerds, images and bundles made here, CRI, the guard against leaks."""
