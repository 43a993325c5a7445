# CASID: one training on temperate monsoon, every climate tested.
_base_ = './casid_tem2tem.py'
targets = ['sub', 'tem', 'tms', 'trf']
