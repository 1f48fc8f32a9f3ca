"""Attentions: what an edit of a prompt takes over from where the network looked for the source."""
