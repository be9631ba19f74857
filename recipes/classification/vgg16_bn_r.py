"""Single characters by a VGG-16: a start for crnn_vgg16_bn.

    zoo train classification.vgg16_bn_r --run runs/vgg16_bn_r

Not trained yet: no weights were released, and neither score nor hours are known. Meant for a GPU.
"""

from dataclasses import replace

from recipes.classification.mobilenet_v3_small import RECIPE as SMALL

RECIPE = replace(SMALL, model="vgg16_bn_r")
