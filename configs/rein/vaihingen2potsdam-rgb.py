# V2P(r), ISPRS: Vaihingen (IRRG) to Potsdam (RGB): the Rein baseline.
_base_ = [
    '../_base_/models/rein_dinov2-l.py', '../_base_/datasets/isprs.py',
    '../_base_/schedules/published_512.py', '../_base_/default_runtime.py']
source, targets = ['vaihingen'], ['potsdam_rgb']
