"""Implements the Sandbox service, with the process that holds a pod's namespaces."""
