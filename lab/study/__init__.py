"""What the method brings on held-out objects of the demo's world."""
