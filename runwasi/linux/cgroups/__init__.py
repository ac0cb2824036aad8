"""Control groups: version 1, version 2 and systemd's, behind one protocol."""
