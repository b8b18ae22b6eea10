"""Side-by-side timings against peers; every figure is a ratio within one run."""
