# P(r)2Res, Disaster: Potsdam (RGB) to RescueNet: the Rein baseline.
_base_ = [
    '../_base_/models/rein_dinov2-l.py', '../_base_/datasets/rescuenet.py',
    '../_base_/schedules/published_512.py', '../_base_/default_runtime.py']
source, targets = ['potsdam_rgb'], ['rescuenet']
