"""What the tests, `make demo` and `make bench` stand on: hosts, images, bundles, and the leak guard."""
