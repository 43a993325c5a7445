# A2S, WHU Building: aerial to satellite II: MTP.
_base_ = [
    '../_base_/models/mtp_rvsa-l.py', '../_base_/datasets/whu.py',
    '../_base_/schedules/mtp.py', '../_base_/default_runtime.py']
source, targets = ['aerial'], ['satellite2']
