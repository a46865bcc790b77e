"""Settings of all tests."""

import rt

__all__ = ["rt"]  # imported before torch: its OpenMP threads then sleep while they wait
