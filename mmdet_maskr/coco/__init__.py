"""COCO's files: read, checked and repaired; detections in its form and in ours."""
