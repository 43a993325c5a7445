_base_ = './frozen_subtropical_monsoon.py'
source = ['tropical_rainforest']
