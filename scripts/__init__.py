"""Programs for building, showing and measuring runwasi."""
