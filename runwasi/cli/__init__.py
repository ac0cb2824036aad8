"""Implements the command line `runwasi`: a file per group of commands, each a thin layer over the packages below."""
