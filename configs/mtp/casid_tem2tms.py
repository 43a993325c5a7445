# Tem2Tms, CASID: temperate monsoon to tropical monsoon: MTP.
_base_ = [
    '../_base_/models/mtp_rvsa-l.py', '../_base_/datasets/casid.py',
    '../_base_/schedules/mtp.py', '../_base_/default_runtime.py']
source, targets = ['tem'], ['tms']
