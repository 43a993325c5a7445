# CASID: one training on subtropical monsoon, every climate tested.
_base_ = './casid_sub2sub.py'
targets = ['sub', 'tem', 'tms', 'trf']
