"""What the nodes draw."""
