"""Attention edits: how the edit of a prompt reuses the attention maps of the source prompt."""
