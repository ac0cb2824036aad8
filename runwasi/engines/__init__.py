"""WebAssembly engines: what an engine is, which ones there are, and the modules they take."""
