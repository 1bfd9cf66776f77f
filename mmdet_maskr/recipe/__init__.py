"""Writes and trains the config for a folder of annotated photos."""
