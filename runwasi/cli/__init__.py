"""The command line `runwasi`: one file per group of commands, each a thin layer over the packages below."""
