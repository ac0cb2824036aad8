"""Creates, starts, signals, pauses, updates, enters and deletes containers."""
