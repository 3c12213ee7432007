"""The diagram of a network: `trace` follows a forward pass, `drawing` makes a page and a print of it."""

from fmnist_lib.visualisers.diagram.core import Diagram as Diagram
