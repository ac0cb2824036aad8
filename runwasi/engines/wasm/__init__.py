"""WebAssembly as bytes: recognising files, reading modules and components, translating text, linking."""
