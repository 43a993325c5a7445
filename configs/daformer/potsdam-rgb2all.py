# ISPRS: one training on Potsdam (RGB), both others tested.
_base_ = './potsdam-rgb2potsdam-irrg.py'
targets = ['potsdam_irrg', 'vaihingen']
