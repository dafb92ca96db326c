"""The only code that enters ComfyUI's sampler: control objects and the z0 trace."""
