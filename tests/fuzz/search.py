"""Search one target with atheris: python -m tests.fuzz.search TARGET LIBFUZZER-ARGUMENT..."""

from __future__ import annotations

import sys

import atheris

from tests.fuzz.harness import check, load


def main() -> None:
    """Import the target with the product's code instrumented, and hand over to libFuzzer, which ends the process."""
    name, *arguments = sys.argv[1:]
    with atheris.instrument_imports(include=["runwasi"]):
        target = load(name)
    atheris.Setup([sys.argv[0], *arguments], lambda data: check(target, data))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
