"""Our host of WASI 0.2 by WASI's own packages, for components that need what libwasmtime lacks."""
