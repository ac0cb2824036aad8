"""Implements the Task service: keeps a pod's tasks, answers short calls itself and hands long ones to calls."""
