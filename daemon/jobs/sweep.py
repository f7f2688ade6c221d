"""Removes decrypted files that killed processes have left in memory."""

from daemon.deps import Deps, Report


def run(deps: Deps) -> Report:
    removed = deps.private_folder.sweep()
    return Report({"folders_removed": removed} if removed else {})
