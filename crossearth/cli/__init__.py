# SPDX-License-Identifier: Apache-2.0
"""The command `crossearth`: one module for each sub-command, and `main` that joins them."""
