# P(i)2Res, Disaster: Potsdam (IRRG) to RescueNet: the Rein baseline.
_base_ = [
    '../_base_/models/rein_dinov2-l.py', '../_base_/datasets/rescuenet.py',
    '../_base_/schedules/published_512.py', '../_base_/default_runtime.py']
source, targets = ['potsdam_irrg'], ['rescuenet']
