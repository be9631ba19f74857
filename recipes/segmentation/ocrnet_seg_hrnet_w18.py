"""Regions of pages by OCRNet on HRNet-W18: sharp borders.

    zoo train segmentation.ocrnet_seg_hrnet_w18 --run runs/ocrnet_seg_hrnet_w18

Not trained yet: no weights were released, and neither score nor hours are known. Meant for a GPU.
"""

from dataclasses import replace

from recipes.segmentation.unet import RECIPE as UNET

RECIPE = replace(UNET, model="ocrnet_seg_hrnet_w18", batch=8, rate=5e-4)
