# SPDX-License-Identifier: Apache-2.0
"""A raster of any size -> a map; nothing of it needs training code or runs a config."""
