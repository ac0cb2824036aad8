"""A piece of wasm of ours in components that serve HTTP: it answers for the host what it can."""
