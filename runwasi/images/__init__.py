"""Images that hold wasm: what they are made of, and the builder."""
