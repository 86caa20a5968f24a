"""SAM2AutomaticMaskGenerator: masks of everything in a photo.

The official constructor, ``generate`` and results; see the class for what goes beyond them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from samphony.errors import ConfigError
from samphony.media.masks import BoolArray, mask_boxes
from samphony.media.photo import ChannelOrder, PhotoLike, load_photo
from samphony.media.regions import remove_small_regions
from samphony.model.base import SAM2Base
from samphony.predict.automatic.crops import Crop, make_crops
from samphony.predict.automatic.enlarge import Enlargement
from samphony.predict.automatic.grids import given_grids, layer_grids
from samphony.predict.automatic.nms import non_maximum_suppression
from samphony.predict.automatic.presets import find_preset
from samphony.predict.automatic.proposals import Proposals
from samphony.predict.automatic.propose import CropView, Filters, propose
from samphony.predict.automatic.records import OUTPUT_MODES, MaskRecords, OutputMode, Record, make_segmentation
from samphony.predict.automatic.report import Tally
from samphony.predict.automatic.tiles import generate_by_tiles
from samphony.predict.image import SAM2ImagePredictor

CROPS_PER_BATCH = {"cpu": 2}
CROPS_PER_BATCH_ELSEWHERE = 8
"""Crops encoded together."""
BUILDER_ARGUMENTS = ("device", "mode", "hydra_overrides_extra", "apply_postprocessing")


class SAM2AutomaticMaskGenerator:
    """Clicks on a grid of points, and keeps the masks that are confident, stable and not duplicates.

    With the official arguments the results are the official ones. Differences, all of them repairs:

    - crop layers none of whose crops gives a mask: an empty result, where the official code fails;
    - ``min_mask_region_area`` works on every device; the official code never calls its own clean-up. With
      ``clean_regions=False`` it has no effect here either (``samphony.automatic_mask_generator`` is that door);
    - unknown arguments are an error instead of being ignored;
    - the result is a list that also knows its drop report and other forms (``MaskRecords``).

    Args:
        model: a model, as ``build_sam2`` makes it.
        points_per_side: clicks along each side; or None, with ``point_grids``.
        points_per_batch: prompts that are encoded together.
        pred_iou_thresh: predicted IoU that a mask must exceed; 0: no limit.
        stability_score_thresh: stability score that it must reach; 0: no limit.
        stability_score_offset: how far above and below ``mask_threshold`` the two masks lie that the score compares.
        mask_threshold: logit above which a pixel belongs to a mask.
        box_nms_thresh: boxes of one crop that overlap by more (IoU) are duplicates: the higher predicted IoU stays.
        crop_n_layers: layers of crops: layer i cuts the photo into 2^i × 2^i and clicks on each.
        crop_nms_thresh: likewise between crops: the mask of the smaller crop stays.
        crop_overlap_ratio: overlap of crops, as a share of the short side.
        crop_n_points_downscale_factor: each layer has so many times fewer points a side.
        point_grids: points (P,2) in 0…1 for each layer, instead of ``points_per_side``.
        min_mask_region_area: holes and islands of fewer pixels of the photo are removed, and so are smaller masks.
        output_mode: ``binary_mask`` ((H,W) bool), ``uncompressed_rle`` or ``coco_rle``. The codes take little memory.
        use_m2m: decode each mask once more with itself as prompt.
        multimask_output: three candidates a click, or one.
        clean_regions: False leaves ``min_mask_region_area`` without effect, as in the official generator.

    Raises:
        ConfigError: an argument that cannot be used.
    """

    def __init__(
        self,
        model: SAM2Base,
        points_per_side: int | None = 32,
        points_per_batch: int = 64,
        pred_iou_thresh: float = 0.8,
        stability_score_thresh: float = 0.95,
        stability_score_offset: float = 1.0,
        mask_threshold: float = 0.0,
        box_nms_thresh: float = 0.7,
        crop_n_layers: int = 0,
        crop_nms_thresh: float = 0.7,
        crop_overlap_ratio: float = 512 / 1500,
        crop_n_points_downscale_factor: int = 1,
        point_grids: Sequence[npt.NDArray[np.floating]] | None = None,
        min_mask_region_area: int = 0,
        output_mode: OutputMode = "binary_mask",
        use_m2m: bool = False,
        multimask_output: bool = True,
        *,
        clean_regions: bool = True,
    ) -> None:
        if (points_per_side is None) == (point_grids is None):
            raise ConfigError("give exactly one of points_per_side and point_grids")
        if output_mode not in OUTPUT_MODES:
            raise ConfigError(f"output_mode must be one of {', '.join(OUTPUT_MODES)}, got {output_mode!r}")
        if points_per_batch < 1:
            raise ConfigError(f"points_per_batch must be at least 1, got {points_per_batch}")
        if crop_n_layers < 0:
            raise ConfigError(f"crop_n_layers must be 0 or more, got {crop_n_layers}")
        if point_grids is not None:
            self.point_grids = given_grids(point_grids, crop_n_layers)
        elif points_per_side is not None:
            self.point_grids = layer_grids(points_per_side, crop_n_layers, crop_n_points_downscale_factor)
        self.predictor = SAM2ImagePredictor(model)
        self.points_per_batch = points_per_batch
        self.pred_iou_thresh = pred_iou_thresh
        self.stability_score_thresh = stability_score_thresh
        self.stability_score_offset = stability_score_offset
        self.mask_threshold = mask_threshold
        self.box_nms_thresh = box_nms_thresh
        self.crop_n_layers = crop_n_layers
        self.crop_nms_thresh = crop_nms_thresh
        self.crop_overlap_ratio = crop_overlap_ratio
        self.crop_n_points_downscale_factor = crop_n_points_downscale_factor
        self.min_mask_region_area = min_mask_region_area
        self.output_mode = output_mode
        self.use_m2m = use_m2m
        self.multimask_output = multimask_output
        self.clean_regions = clean_regions

    @classmethod
    def from_pretrained(cls, model_id: str, **kwargs: Any) -> SAM2AutomaticMaskGenerator:
        """The generator of a released model, fetched once and cached.

        Args:
            model_id: ``"facebook/sam2.1-hiera-tiny"``, ``"tiny"``, ``"nano"``, …
            kwargs: ``device``, ``apply_postprocessing`` … for the model, ``preset``, and the constructor's arguments.
        """
        from samphony.predict.build import build_sam2_hf

        preset = kwargs.pop("preset", None)
        building = {name: kwargs.pop(name) for name in BUILDER_ARGUMENTS if name in kwargs}
        unknown = set(kwargs) - set(inspect.signature(SAM2AutomaticMaskGenerator).parameters)
        if unknown:
            raise ConfigError(f"unknown argument {', '.join(sorted(unknown))}")
        if preset is not None:
            find_preset(preset)  # before anything is fetched
        model = build_sam2_hf(model_id, **building)
        return cls(model, **kwargs) if preset is None else cls.from_preset(model, preset, **kwargs)

    @classmethod
    def from_preset(cls, model: SAM2Base, preset: str = "balanced", **kwargs: Any) -> SAM2AutomaticMaskGenerator:
        """With the settings of a preset (``fast``, ``balanced``, ``thorough``), but for those given in ``kwargs``.

        The nano's thresholds are lower than those of the released models, since it is less sure of its masks.
        """
        return cls(model, **{**find_preset(preset, model.config.name).arguments(), **kwargs})

    def generate(self, image: PhotoLike, channel_order: ChannelOrder = "rgb") -> MaskRecords:
        """Segment everything in a photo.

        Args:
            image: whatever ``SAM2ImagePredictor.set_image`` takes.
            channel_order: ``"bgr"`` for arrays in OpenCV's order.

        Returns:
            a list of records by descending predicted IoU (with crop layers: small crops first).
        """
        pixels = load_photo(image, channel_order=channel_order, keep_float=True)
        hw = (pixels.shape[0], pixels.shape[1])
        tally = Tally()
        crops = make_crops(hw, self.crop_n_layers, self.crop_overlap_ratio)
        with torch.inference_mode():
            proposals = self._propose(pixels, crops, tally)
            records = list(self._finish(proposals, crops, tally))
        tally.kept = len(records)
        return MaskRecords(records, hw, tally.report())

    def generate_by_tiles(
        self,
        image: Any,
        tile_size: int = 1024,
        overlap: int = 256,
        progress: Callable[[int, int], None] | None = None,
    ) -> MaskRecords:
        """Segment everything in a picture of any size by overlapping tiles; see ``tiles.generate_by_tiles``."""
        return generate_by_tiles(self, image, tile_size, overlap, progress)

    def _propose(self, pixels: npt.NDArray[Any], crops: list[Crop], tally: Tally) -> Proposals:
        """Proposals of all crops, duplicates between crops removed."""
        filters = Filters(
            points_per_batch=self.points_per_batch,
            pred_iou_thresh=self.pred_iou_thresh,
            stability_score_thresh=self.stability_score_thresh,
            stability_score_offset=self.stability_score_offset,
            mask_threshold=self.mask_threshold,
            box_nms_thresh=self.box_nms_thresh,
            use_m2m=self.use_m2m,
            multimask_output=self.multimask_output,
        )
        hw = (pixels.shape[0], pixels.shape[1])
        together = CROPS_PER_BATCH.get(self.predictor.device.type, CROPS_PER_BATCH_ELSEWHERE)
        found = []
        try:
            for first in range(0, len(crops), together):
                group = crops[first : first + together]
                if len(group) == 1:
                    self.predictor.set_image(group[0].cut(pixels))
                else:
                    self.predictor.set_image_batch([crop.cut(pixels) for crop in group])
                for img_idx, crop in enumerate(group):
                    view = CropView(crop, first + img_idx, img_idx, hw)
                    found.append(propose(self.predictor, view, self.point_grids[crop.layer], filters, tally))
        finally:
            self.predictor.reset_predictor()
        proposals = Proposals.concatenate(found)
        if len(crops) == 1:
            return proposals
        areas = np.array([crop.area for crop in crops], np.float32)
        kept = non_maximum_suppression(proposals.boxes, 1 / areas[proposals.crops], self.crop_nms_thresh)
        tally.duplicate_of_crop += len(proposals) - len(kept)
        return proposals.select(kept)

    def _finish(self, proposals: Proposals, crops: list[Crop], tally: Tally) -> Iterator[Record]:
        """Bring each mask to full size, one at a time."""
        masks = self._masks(proposals, crops)
        if self.clean_regions and self.min_mask_region_area > 0:
            yield from self._clean(proposals, masks, crops, tally)
            return
        for i, mask in enumerate(masks):
            yield self._record(proposals, i, mask, proposals.boxes[i], crops)

    def _clean(
        self, proposals: Proposals, masks: Iterator[BoolArray], crops: list[Crop], tally: Tally
    ) -> Iterator[Record]:
        """Without small regions and small masks; of duplicates that this makes, the one that was not changed stays."""
        records, unchanged = [], []
        for i, mask in enumerate(masks):
            cleaned = remove_small_regions(mask, self.min_mask_region_area)
            record = self._record(proposals, i, cleaned, mask_boxes(cleaned), crops)
            if record["area"] < self.min_mask_region_area:
                tally.area += 1
                continue
            records.append(record)
            unchanged.append(cleaned is mask)
        boxes = np.array([r["bbox"] for r in records], np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        threshold = max(self.box_nms_thresh, self.crop_nms_thresh)
        kept = non_maximum_suppression(boxes, np.array(unchanged, np.float32), threshold)
        tally.duplicate += len(records) - len(kept)
        yield from (records[i] for i in np.sort(kept))

    def _masks(self, proposals: Proposals, crops: list[Crop]) -> Iterator[BoolArray]:
        """Masks at the size of the picture, (H,W) bool, column-major."""
        width, height = crops[0].box[2:]
        enlargements: dict[tuple[int, int], Enlargement] = {}
        for patch, number in zip(proposals.patches, proposals.crops, strict=True):
            crop = crops[number]
            if crop.hw not in enlargements:
                enlargements[crop.hw] = Enlargement(patch.size, crop.hw, torch.device("cpu"))
            mask = enlargements[crop.hw].paint(patch.restore(), patch.threshold)
            if crop.layer > 0:
                whole = np.zeros((width, height), bool).T
                x0, y0, x1, y1 = crop.box
                whole[y0:y1, x0:x1] = mask
                mask = whole
            yield mask

    def _record(
        self, proposals: Proposals, i: int, mask: BoolArray, box: npt.NDArray[np.int64], crops: list[Crop]
    ) -> Record:
        x0, y0, x1, y1 = (float(v) for v in box)
        left, top, right, bottom = crops[proposals.crops[i]].box
        return {
            "segmentation": make_segmentation(mask, self.output_mode),
            "area": int(np.count_nonzero(mask)),
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "predicted_iou": float(proposals.ious[i]),
            "point_coords": [proposals.points[i].tolist()],
            "stability_score": float(proposals.stability[i]),
            "crop_box": [float(left), float(top), float(right - left), float(bottom - top)],
        }
