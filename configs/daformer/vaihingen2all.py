# ISPRS: one training on Vaihingen (IRRG), both others tested.
_base_ = './vaihingen2potsdam-irrg.py'
targets = ['potsdam_irrg', 'potsdam_rgb']
