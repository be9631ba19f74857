"""Single characters by a StarNet-S3.

    zoo train classification.starnet_s3 --run runs/starnet_s3

Not trained yet: no weights were released, and neither score nor hours are known. Meant for a GPU.
"""

from dataclasses import replace

from recipes.classification.mobilenet_v3_small import RECIPE as SMALL

RECIPE = replace(SMALL, model="starnet_s3")
