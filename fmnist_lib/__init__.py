"""fmnist_lib: train small CNNs on Fashion-MNIST and look inside them.

Modules, in the order in which data flows: `data`, `models`, `train`, `checkpoint`, `hooks`, `recording`,
`probes`, `plots`, `explorer`, `lab` (one call for a whole run) and `report`.
"""

__version__ = "0.1.0"
