"""Answers the Task service's long calls, each an operation in a file of its own, with what they need."""
