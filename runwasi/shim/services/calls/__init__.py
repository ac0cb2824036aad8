"""Answers the Task service's long calls: each is an operation in its own file."""
