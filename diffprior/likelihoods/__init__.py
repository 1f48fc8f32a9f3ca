"""What a measurement says about the clean image."""
