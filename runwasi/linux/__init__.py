"""The kernel's facilities, one file each: thin functions that raise OSError and know nothing about containers."""
