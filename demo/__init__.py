"""The embedded demo: data set, small base model and its training, and the one-command demo."""
