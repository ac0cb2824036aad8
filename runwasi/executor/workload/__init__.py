"""What a container runs: a native program, a wasm module, or a refusal with its reason."""
