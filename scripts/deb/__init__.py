"""Debian packages, made from the portable bundle."""
