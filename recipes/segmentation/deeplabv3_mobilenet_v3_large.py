"""Regions of pages by DeepLabV3 on MobileNetV3-Large.

    zoo train segmentation.deeplabv3_mobilenet_v3_large --run runs/deeplabv3_mobilenet_v3_large --data DATA

Trains on a laptop, from the backbone of the released detector with `--set start=db_mobilenet_v3_large`.
"""

from dataclasses import replace

from recipes.segmentation.unet import RECIPE as UNET

RECIPE = replace(UNET, model="deeplabv3_mobilenet_v3_large", real_share=0.5, size=(384, 384), batch=4, steps=10_000)
