"""Decides what a container runs: a native program, a wasm module, or nothing, with the reason."""
