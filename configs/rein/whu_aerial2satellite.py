# A2S, WHU Building: aerial to satellite II: the Rein baseline.
_base_ = [
    '../_base_/models/rein_dinov2-l.py', '../_base_/datasets/whu.py',
    '../_base_/schedules/published_512.py', '../_base_/default_runtime.py']
source, targets = ['aerial'], ['satellite2']
