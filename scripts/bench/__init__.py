"""Measures what runwasi costs beside its peers, in one run and in turns, for `make bench`."""
