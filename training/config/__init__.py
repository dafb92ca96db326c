"""What a run is: its settings, its identity, the machine that it asks for."""
