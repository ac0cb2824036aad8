"""Builds, demonstrates and measures runwasi."""
