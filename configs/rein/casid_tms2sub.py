# Tms2Sub, CASID: tropical monsoon to subtropical monsoon: the Rein baseline.
_base_ = [
    '../_base_/models/rein_dinov2-l.py', '../_base_/datasets/casid.py',
    '../_base_/schedules/published_1024.py', '../_base_/default_runtime.py']
source, targets = ['tms'], ['sub']
