"""Container images made and read here, without a registry or a daemon."""
