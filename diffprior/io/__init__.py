"""Files and arrays to images and back, with nothing lost."""
