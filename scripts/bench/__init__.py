"""`make bench`: what runwasi costs beside its peers, measured in one run and in turns."""
