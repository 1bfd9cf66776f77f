"""COCO's files: read, checked and repaired; detections in COCO's form and in ours."""
