"""WebAssembly as bytes: telling what a file is, reading a module, turning text into binary, linking."""
