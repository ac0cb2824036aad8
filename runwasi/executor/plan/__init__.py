"""What is asked: the bundle and the options of whoever creates a container."""
