"""On PYTHONPATH, it lets every process of Python find the networks in the folder NETWORKS_ADDED."""

import os
import sys

if "NETWORKS_ADDED" in os.environ and "ranktag" not in sys.modules:
    import ranktag.features.backbones

    ranktag.features.backbones.__path__.append(os.environ["NETWORKS_ADDED"])
