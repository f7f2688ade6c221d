"""The strict reader of kubeconfigs: what it refuses, no client ever sees."""

from core.clusters.kubeconfig.read import Kubeconfig, read_kubeconfig

__all__ = ["Kubeconfig", "read_kubeconfig"]
