"""What happens, for other systems: one leaf module each."""
