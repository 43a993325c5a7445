# SPDX-License-Identifier: Apache-2.0
"""Write into every checkpoint which backbone file its trained part belongs to."""

from typing import Any

from mmengine.hooks import Hook

from crossearth.errors import CheckpointError
from crossearth.registry import HOOKS

__all__ = ['BackboneProvenanceHook']


@HOOKS.register_module()
class BackboneProvenanceHook(Hook):
    """Name the frozen backbone in `meta['backbone']`, and compare it when loading.

    `build_runner` sets `model.backbone_provenance` when it loads the backbone's weights.
    """

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Add the provenance."""
        provenance = _provenance(runner)
        if provenance:
            checkpoint['meta']['backbone'] = dict(provenance)

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint that was trained on another backbone file."""
        check_backbone(checkpoint, _provenance(runner))


def check_backbone(checkpoint: dict[str, Any], provenance: dict[str, Any] | None) -> None:
    """Compare the backbone that a checkpoint names with the one that is loaded.

    Args:
        checkpoint: A loaded checkpoint.
        provenance: `name` and `sha256` of the loaded backbone file; None when there is none.

    Raises:
        CheckpointError: They differ.
    """
    trained_on = checkpoint.get('meta', {}).get('backbone')
    if trained_on and provenance and trained_on['sha256'] != provenance['sha256']:
        raise CheckpointError(
            f"the checkpoint was trained on the backbone file {trained_on['name']} "
            f"(sha256 {trained_on['sha256'][:12]}...), but {provenance['name']} "
            f"(sha256 {provenance['sha256'][:12]}...) is loaded. Set model.backbone.weights to the "
            'former.')


def _provenance(runner: Any) -> dict[str, Any] | None:
    model = getattr(runner.model, 'module', runner.model)
    provenance: dict[str, Any] | None = getattr(model, 'backbone_provenance', None)
    return provenance
