"""Controls with regions: what enters the model while it samples."""
