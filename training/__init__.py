"""Training and evaluation of local adapters; needs diffusers, knows nothing of ComfyUI."""
