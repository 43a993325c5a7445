# ISPRS: one training on Potsdam (IRRG), both others tested.
_base_ = './potsdam-irrg2vaihingen.py'
targets = ['vaihingen', 'potsdam_rgb']
