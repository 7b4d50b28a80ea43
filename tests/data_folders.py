"""Writes one's own data as people have it, from a small COCO set: Pascal VOC and YOLO folders."""

import json
import shutil


def category_names(root):
    content = json.loads((root / "annotations" / "instances_train2017.json").read_text())
    return [category["name"] for category in content["categories"]]


def records(root, split):
    """File path, image entry, and (label, box) of each object of a COCO split."""
    content = json.loads((root / "annotations" / f"instances_{split}2017.json").read_text())
    labels = {category["id"]: label for label, category in enumerate(content["categories"])}
    for image in content["images"]:
        own = [a for a in content["annotations"] if a["image_id"] == image["id"]]
        path = root / f"{split}2017" / image["file_name"]
        yield path, image, [(labels[a["category_id"]], a["bbox"]) for a in own]


def write_voc(coco, root):
    """As a VOC folder; the first object of each image is difficult."""
    names = category_names(coco)
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / name).mkdir(parents=True)
    for split in ("train", "val"):
        stems = []
        for path, image, objects in records(coco, split):
            shutil.copy(path, root / "JPEGImages")
            text = "".join(_voc_object(names[k], box, i == 0) for i, (k, box) in enumerate(objects))
            size = f"<size><width>{image['width']}</width><height>{image['height']}</height></size>"
            (root / "Annotations" / f"{path.stem}.xml").write_text(f"<annotation>{size}{text}</annotation>")
            stems.append(path.stem)
        (root / "ImageSets/Main" / f"{split}.txt").write_text("\n".join(stems) + "\n")
    return root


def write_yolo(coco, root):
    """As a YOLO folder with a data.yaml."""
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        for path, image, objects in records(coco, split):
            shutil.copy(path, root / "images" / split)
            lines = []
            for label, (x, y, w, h) in objects:
                width, height = image["width"], image["height"]
                lines.append(f"{label} {(x + w / 2) / width} {(y + h / 2) / height} {w / width} {h / height}")
            (root / "labels" / split / f"{path.stem}.txt").write_text("\n".join(lines) + "\n")
    names = ", ".join(f"{label}: {name}" for label, name in enumerate(category_names(coco)))
    (root / "data.yaml").write_text(f"names: {{{names}}}\n")
    return root


def _voc_object(name, box, difficult):
    x, y, width, height = box
    corners = dict(xmin=x + 1, ymin=y + 1, xmax=x + width, ymax=y + height)
    inner = "".join(f"<{key}>{value:g}</{key}>" for key, value in corners.items())
    flag = f"<difficult>{int(difficult)}</difficult>"
    return f"<object><name>{name}</name>{flag}<bndbox>{inner}</bndbox></object>"
