"""What is encoded once and kept."""
