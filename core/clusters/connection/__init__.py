"""The way into a cluster; see README.md."""

from core.clusters.connection.access import (
    CheckStep,
    ClusterAccess,
    Transport,
    VisitLimits,
)
from core.clusters.connection.launcher import Launcher, launcher
from core.clusters.connection.visit import Reach, visit

__all__ = [
    "CheckStep",
    "ClusterAccess",
    "Launcher",
    "Reach",
    "Transport",
    "VisitLimits",
    "launcher",
    "visit",
]
