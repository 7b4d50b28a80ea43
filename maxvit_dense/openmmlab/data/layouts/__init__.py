"""What trains as it lies on disk (COCO files, images with masks, class folders, shards): read, and its faults found."""
