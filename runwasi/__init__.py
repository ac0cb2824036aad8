"""runwasi: a container runtime for WebAssembly and native Linux containers."""

__version__ = "0.1.0"
