"""The checks of `runwasi doctor`: each file looks at one part of the node and changes nothing."""
