"""Shares between scripts and tests: private containerds, images and bundles, CRI, the leak guard."""
