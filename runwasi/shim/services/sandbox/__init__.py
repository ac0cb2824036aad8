"""Implements the Sandbox service, and the process that holds a pod's namespaces."""
