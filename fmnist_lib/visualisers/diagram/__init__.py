"""The diagram of a network: `trace` follows a forward pass, `rows` are its boxes, `page` and `picture` show them."""

from fmnist_lib.visualisers.diagram.core import Diagram as Diagram
