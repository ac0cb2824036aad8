"""The component model on wasmtime's C API: types, values, interfaces and instances."""
