# D2M, Roads: DeepGlobe to Massachusetts: MTP.
_base_ = [
    '../_base_/models/mtp_rvsa-l.py', '../_base_/datasets/roads.py',
    '../_base_/schedules/mtp.py', '../_base_/default_runtime.py']
source, targets = ['deepglobe'], ['massachusetts']
