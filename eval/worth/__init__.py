"""What noise in preference pairs costs: accuracy by noise and rows, and how many noisy pairs a clean one is worth."""
