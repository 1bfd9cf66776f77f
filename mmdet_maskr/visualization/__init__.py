"""Pictures: instances drawn on images, ground truth beside predictions, curves of a training."""
