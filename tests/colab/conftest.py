"""The kernels of these tests choose their own back end for figures, as a Colab's do."""

import os

for name in ("MPLBACKEND", "SDL_VIDEODRIVER", "SDL_AUDIODRIVER"):  # set for the unit tests
    os.environ.pop(name, None)
