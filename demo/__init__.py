"""The embedded default: the one-command demo, the small base and its family for ComfyUI."""
