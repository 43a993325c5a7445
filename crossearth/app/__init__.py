# SPDX-License-Identifier: Apache-2.0
"""The local web page of `crossearth app`: uploads only, one job at a time, one output folder."""
