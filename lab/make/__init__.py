"""The making of the demo base, its probe and its adapters; each command can be stopped."""
