# V2P(i), ISPRS: Vaihingen (IRRG) to Potsdam (IRRG): MTP.
_base_ = [
    '../_base_/models/mtp_rvsa-l.py', '../_base_/datasets/isprs.py',
    '../_base_/schedules/mtp.py', '../_base_/default_runtime.py']
source, targets = ['vaihingen'], ['potsdam_irrg']
