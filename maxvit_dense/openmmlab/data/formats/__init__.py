"""Other formats, read into one structure (``sources``) and written as COCO or as images with masks (``convert``)."""
