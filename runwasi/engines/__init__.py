"""WebAssembly engines: the interface that each implements, the registry, the cache of compiled modules."""
