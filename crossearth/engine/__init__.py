# SPDX-License-Identifier: Apache-2.0
"""Running: configs, runners, hooks and optimisers.

Nothing is imported here, so that a tool's thread settings (`engine.cli`) come before torch.
"""
