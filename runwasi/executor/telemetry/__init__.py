"""Reports on containers: how long each step of a start took, and events for the metrics process."""
