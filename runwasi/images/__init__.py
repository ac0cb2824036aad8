"""Build and read container images, without a registry or a daemon."""
