"""What runs outside the engine: deployment templates and the Azure of a laptop."""
