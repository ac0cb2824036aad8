"""Checks the node for `runwasi doctor`: each file looks at one part and changes nothing."""
