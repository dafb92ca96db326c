"""Cases, scores, statistics and their report."""
