"""The frozen base through diffusers: opened, denoising, sampling."""
