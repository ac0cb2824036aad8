"""The names of the images that Docker holds."""

BUSYBOX = "localhost/busybox:latest"
DEMO = "localhost/wasi-demo-app:latest"
"""The demo's module as a file beside busybox."""
LAYERS = "localhost/wasi-demo-oci:latest"
"""The demo's module as a layer, for the platform wasip1/wasm."""
HTTP = "localhost/hello:latest"
"""A component that answers HTTP requests on port 8080."""
