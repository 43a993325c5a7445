# CASID: one training on tropical rainforest, every climate tested.
_base_ = './casid_trf2trf.py'
targets = ['sub', 'tem', 'tms', 'trf']
