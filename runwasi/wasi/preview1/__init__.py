"""WASI preview 1 and its predecessor for core modules: host functions that work on the guest's memory."""
