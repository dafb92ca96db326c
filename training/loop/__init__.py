"""The steps of a training: plan, examples, optimisation, state, resumption, validation."""
