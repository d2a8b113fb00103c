"""Conditional generators: one file each, registered by name in ``GENERATORS``."""

from ._base import GENERATORS, Generator
from ._implicit import ImplicitGenerator
from .cvae import CVAE
from .ddpm import DDPM
from .energy import EnergyGenerator
from .flow_matching import FlowMatching
from .mmd import MMDGenerator
from .normalizing_flow import NormalizingFlow
from .sinkhorn import SinkhornGenerator
from .sliced_wasserstein import SlicedWassersteinGenerator
from .wormhole import WormholeGenerator

__all__ = [
    "CVAE",
    "DDPM",
    "GENERATORS",
    "EnergyGenerator",
    "FlowMatching",
    "Generator",
    "ImplicitGenerator",
    "MMDGenerator",
    "NormalizingFlow",
    "SinkhornGenerator",
    "SlicedWassersteinGenerator",
    "WormholeGenerator",
]
