"""Operates on the containers that exist: their record on disk, their status, their hooks, their deletion."""
