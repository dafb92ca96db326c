"""The predicted clean latent while sampling: watched, moved, shown."""
