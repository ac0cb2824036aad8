"""What can be wrong with what an image is made of."""


class ImageError(Exception):
    """An image cannot be built or read; the message names the file or flag at fault and why."""
