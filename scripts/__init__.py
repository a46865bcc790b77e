"""Entry points: parse, build, run, close."""
