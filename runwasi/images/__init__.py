"""Builds and reads container images, without a registry or a daemon."""
