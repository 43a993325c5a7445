# P(i)2P(r), ISPRS: Potsdam (IRRG) to Potsdam (RGB): MTP.
_base_ = [
    '../_base_/models/mtp_rvsa-l.py', '../_base_/datasets/isprs.py',
    '../_base_/schedules/mtp.py', '../_base_/default_runtime.py']
source, targets = ['potsdam_irrg'], ['potsdam_rgb']
