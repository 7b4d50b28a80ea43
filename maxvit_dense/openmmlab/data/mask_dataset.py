"""mmseg's data set of images and masks as people have them: any suffixes, any values in the masks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.registry import DATASETS
from mmseg.datasets import BaseSegDataset

from .faults import found, refuse
from .layouts.mask_files import MOST_CLASSES, pair_files
from .layouts.mask_folders import IGNORED_LABEL


@DATASETS.register_module()
class MaskFolderDataset(BaseSegDataset):
    """Images of a folder with the masks that share their names, whatever their suffixes.

    mmseg's own data sets take one suffix of each and labels without gaps.

    Args:
        values: value in the masks of each class, in the order of labels. 0 and 255 are ignored where they are none
            of them; any other value is an error (``pixel_check.CheckLoaded``).
        void: other values that are ignored.
        merged: (value, label) of other values of a class.
        endings: what names of images and masks have more than the one that they share.
        kwargs: of ``BaseSegDataset``; its ``ann_file`` lists the names to read, one a line.
    """

    def __init__(
        self,
        values: Sequence[int],
        void: Sequence[int] = (),
        endings: Sequence[str] = ("", ""),
        merged: Sequence[Sequence[int]] = (),
        **kwargs: Any,
    ):
        self.values, self.void, self.endings, self.merged = tuple(values), tuple(void), tuple(endings), dict(merged)
        from_one = self.values == tuple(range(1, len(self.values) + 1)) and not (self.void or self.merged)
        super().__init__(reduce_zero_label=from_one, **kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        """Records in mmseg's form; an image without a mask gets the name that its mask should have.

        Raises:
            InputError: two images or masks of the same name.
        """
        mask_dir = Path(self.data_prefix["seg_map_path"])
        pairs = pair_files(self.data_prefix["img_path"], mask_dir, self.endings, self.ann_file)
        refuse(found({"duplicate name": pairs.twice}), self.data_prefix["img_path"])
        shared = dict(label_map=self._moved_values(), reduce_zero_label=self.reduce_zero_label)
        return [
            dict(
                shared,
                img_path=str(image),
                seg_map_path=str(pairs.masks.get(stem, mask_dir / f"{stem}.png")),
                seg_fields=[],
            )
            for stem, image in pairs.images.items()
        ]

    def _moved_values(self) -> dict[int, int] | None:
        """Label by value, of the values that are not their own label; mmseg's loader follows it."""
        if self.reduce_zero_label:
            return None  # mmseg's own way, and a faster one
        # A value between the labels must not pass for one of them.
        moved = {value: MOST_CLASSES for value in range(len(self.values))} | {0: IGNORED_LABEL}
        moved |= dict.fromkeys(self.void, IGNORED_LABEL)
        moved |= {value: label for label, value in enumerate(self.values)} | self.merged
        return {value: label for value, label in moved.items() if value != label} or None
