"""Makes the portable bundle: runwasi with an interpreter, libraries and loader of its own."""
