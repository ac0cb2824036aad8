"""Decides whether a container runs a native program or a wasm module, or is refused with a reason."""
