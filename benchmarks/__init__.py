"""What is measured. `python -m benchmarks.quality` is `make quality`."""
