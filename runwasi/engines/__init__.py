"""WebAssembly engines behind one interface, and the cache of compiled modules."""
