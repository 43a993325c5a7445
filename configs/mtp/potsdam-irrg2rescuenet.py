# P(i)2Res, Disaster: Potsdam (IRRG) to RescueNet: MTP.
_base_ = [
    '../_base_/models/mtp_rvsa-l.py', '../_base_/datasets/rescuenet.py',
    '../_base_/schedules/mtp.py', '../_base_/default_runtime.py']
source, targets = ['potsdam_irrg'], ['rescuenet']
