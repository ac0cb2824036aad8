"""Implements a pod's server: the reactor, ttrpc, events, and the server's own life."""
