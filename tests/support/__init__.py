"""Helpers of the tests: hosts, images, bundles, and the leak guard."""
