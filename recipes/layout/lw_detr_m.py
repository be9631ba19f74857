"""Regions of pages by LW-DETR on the larger ViTDet.

    zoo train layout.lw_detr_m --run runs/lw_detr_m --data DATA

Not trained yet: no weights were released, and neither score nor hours are known. Meant for a GPU.
"""

from dataclasses import replace

from recipes.layout.lw_detr_s import RECIPE as SMALL

RECIPE = replace(SMALL, model="lw_detr_m")
