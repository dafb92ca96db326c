"""The method: local control of diffusion models by mask-gated adapters and the z0 edge loss.

Pure torch, shared by the ComfyUI nodes and the trainer. Source of the method: Domingo-Gregorio,
Grau-Gasulla and Ruiz-Hidalgo, "Leveraging Latent Vector Prediction for Localized Control in Image
Generation via Diffusion Models", arXiv 2602.01991.
"""
