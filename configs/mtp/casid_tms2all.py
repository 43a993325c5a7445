# CASID: one training on tropical monsoon, every climate tested.
_base_ = './casid_tms2tms.py'
targets = ['sub', 'tem', 'tms', 'trf']
