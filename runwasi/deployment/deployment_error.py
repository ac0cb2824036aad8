"""The error for a node that cannot be configured as asked."""

from __future__ import annotations


class DeploymentError(Exception):
    """A file or program of the node that we do not touch; the message names it and says what to do."""
