"""From a folder of annotated photos to the config that an expert would write, and its training."""
