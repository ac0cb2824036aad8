"""What a container's first process does before the workload, one file per subject."""
