"""The edges that the demo's canny adapters read, and that its scores compare."""

from training.data.condition import Condition

# The preset `demo` has the same. Chosen on pictures of the validation objects: with a tolerance of
# 2 px, another picture's edges reach an F1 of 0.31 inside the box and the autoencoder's
# reconstruction 0.87. Canny's edges at 100 and 200 without blur are so dense that another picture's
# reach 0.47 of at most 0.89.
EDGES = Condition("canny", low=150, high=300, blur=1.0)
