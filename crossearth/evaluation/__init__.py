# SPDX-License-Identifier: Apache-2.0
"""Evaluation: exact confusion matrices, per-domain scores, and their reports."""

from .confusion import Scores, confusion, scores
from .hook import DomainReportHook
from .metrics import DomainIoUMetric
from .record import DomainReport, DomainResult
from .report import comparison_markdown, print_report, read_report, write_csv, write_json
from .runs import Run, find_runs
from .spread import Spread, SpreadTable
from .table import BenchmarkTable

__all__ = [
    'BenchmarkTable',
    'DomainIoUMetric',
    'DomainReport',
    'DomainReportHook',
    'DomainResult',
    'Run',
    'Scores',
    'Spread',
    'SpreadTable',
    'comparison_markdown',
    'confusion',
    'find_runs',
    'print_report',
    'read_report',
    'scores',
    'write_csv',
    'write_json',
]
