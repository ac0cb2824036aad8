"""The inset: our own wasm code, set into components that serve HTTP to answer calls in the host's place."""
