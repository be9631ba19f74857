"""An LSTM that looks at the picture for each character: for curved and tilted words.

    zoo train recognition.sar_resnet31 --run runs/sar_resnet31 --data DATA

Not trained yet: no weights were released, and neither score nor hours are known. Meant for a GPU.
"""

from dataclasses import replace

from recipes.recognition.vitstr_small import RECIPE as VITSTR

RECIPE = replace(VITSTR, model="sar_resnet31", options={"teacher": True}, batch=96, rate=1e-3, warmup=3000)
