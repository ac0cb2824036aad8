"""An example engine for runwasi: WebAssembly interpreted by pure Python."""
