"""A CRNN that writes by attention instead of CTC.

    zoo train recognition.crnn_resnet34_attention --run runs/crnn_resnet34_attention --data DATA

Not trained yet: no weights were released, and neither score nor hours are known. Meant for a GPU.
"""

from dataclasses import replace

from recipes.recognition.sar_resnet31 import RECIPE as SAR

RECIPE = replace(SAR, model="crnn_resnet34_attention")
