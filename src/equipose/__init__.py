"""equipose."""
