"""The workspaces of a worker: made or restored before an attempt, saved with each checkpoint, their files kept at the end.

Without `[files] url` everything stays in the data folder of this host.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from tether.config import Settings
from tether.errors import NotFound, StoreUnavailable
from tether.files import TooLarge, open_files
from tether.files.workspaces import Saved
from tether.store.rows import Checkpoint, Claim, NewArtifact
from tether.worker import launching
from tether.worker.artifacts import workspace_files
from tether.worker.hiding import Hiding

__all__ = ["Keeper"]

log = logging.getLogger("tether.worker")


class Keeper:
    """Every method may be slow and belongs in a thread. Raises ConfigurationError when `[files]` is not acceptable."""

    def __init__(self, settings: Settings, hiding: Hiding | None = None) -> None:
        self._settings = settings
        self._hiding = hiding
        self._files = open_files(settings.files)
        self._saved: dict[str, Saved] = {}

    @property
    def is_remote(self) -> bool:
        """Whether workspaces are kept beyond this host."""
        return self._files is not None

    def prepare(self, claim: Claim) -> Path:
        """The workspace of an attempt: as its last attempt left it here, else as of the checkpoint, else new.

        Its secrets are unsealed too. Raises ValidationError, StoreUnavailable, OSError.
        """
        if self._hiding is not None:
            self._hiding.reveal(claim)
        if self._files is None or self._in_place(claim):
            return launching.prepare_workspace(self._settings, claim)
        folder = self._folder(claim)
        mark = folder.with_name(folder.name + ".attempt")
        if claim.attempt > 1 and not (folder.exists() and _read(mark) == claim.attempt - 1):
            # Whatever lies here is older than what another host saved.
            self._files.restore(claim.task_id, _number(claim.checkpoint), folder)
        made = launching.prepare_workspace(self._settings, claim)
        mark.write_text(str(claim.attempt))
        self._saved[claim.task_id] = Saved()
        return made

    def left(self, claim: Claim, checkpoint: int | None) -> str | None:
        """Save what an attempt left since its last checkpoint, whose finished tool calls no other attempt makes again."""
        return self.checkpointed(claim, checkpoint or 0)

    def checkpointed(self, claim: Claim, number: int) -> str | None:
        """Save the workspace as of checkpoint `number` (0: none yet); what is wrong when it could not be, which ends nothing."""
        if self._files is None or self._in_place(claim):
            return None
        try:
            self._files.save(claim.task_id, number, self._folder(claim), self._saved.setdefault(claim.task_id, Saved()))
        except (TooLarge, StoreUnavailable, OSError) as error:
            log.warning("the workspace of %s was not saved with checkpoint %d: %s", claim.task_id, number, error)
            return f"The workspace was not saved with checkpoint {number}: {error}"
        return None

    def artifacts(self, claim: Claim) -> tuple[NewArtifact, ...]:
        """The files an attempt leaves, kept where every host finds them; one that cannot be is named where it lies here."""
        if self._in_place(claim):  # its files are where its user wants them
            return ()
        found = workspace_files(self._folder(claim), claim)
        self._saved.pop(claim.task_id, None)
        if self._files is None:
            return found
        kept: list[NewArtifact] = []
        for number, artifact in enumerate(found):
            try:
                path = self._folder(claim) / artifact.name
                kept.append(replace(artifact, url=self._files.keep_file(claim.task_id, path, artifact.sha256)))
            except (NotFound, OSError) as error:
                log.warning("%s of %s is not kept: %s", artifact.name, claim.task_id, error)
            except StoreUnavailable as error:
                log.warning("the files of %s stay on this host: %s", claim.task_id, error)
                return (*kept, *found[number:])
        return tuple(kept)

    def _in_place(self, claim: Claim) -> bool:
        return self._settings.agent(claim.task.agent).in_place

    def _folder(self, claim: Claim) -> Path:
        return launching.workspace_of(self._settings, claim)


def _number(checkpoint: Checkpoint | None) -> int:
    return 0 if checkpoint is None else checkpoint.number


def _read(mark: Path) -> int | None:
    try:
        return int(mark.read_text())
    except (OSError, ValueError):
        return None
