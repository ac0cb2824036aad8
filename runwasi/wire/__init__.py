"""Wire formats: the protobuf codec, and the messages of containerd, CRIU and ttrpc."""
