"""How the demo base and its adapters were made, and how the claim was tested."""
