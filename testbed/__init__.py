"""A real ComfyUI for demo, tests and benchmarks: unpacked, as a server, in process."""
