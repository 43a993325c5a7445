# U2R, LoveDA: urban to rural: MTP.
_base_ = [
    '../_base_/models/mtp_rvsa-l.py', '../_base_/datasets/loveda.py',
    '../_base_/schedules/mtp.py', '../_base_/default_runtime.py']
source, targets = ['urban'], ['rural']
