"""containerd's messages: a small protobuf codec (wire.py) and one generated module per file of proto/."""
