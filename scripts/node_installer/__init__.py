"""Makes the image of the node installer, which installs runwasi on the nodes of a Kubernetes cluster."""
