# SPDX-License-Identifier: Apache-2.0
"""Small pure modules; they import nothing of ours."""
