"""What the editing tasks share."""
