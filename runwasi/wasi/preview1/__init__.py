"""Our WASI preview 1, and what was before it, for core modules: functions over the guest's own memory."""
