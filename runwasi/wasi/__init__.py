"""Host functions of WASI 0.2 and preview 1, for what libwasmtime's own WASI lacks or does slowly."""
