"""The error for an image that cannot be built or read."""


class ImageError(Exception):
    """An image cannot be built or read; the message names the file or flag at fault and why."""
