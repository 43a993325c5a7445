_base_ = './frozen_subtropical_monsoon.py'
source = ['temperate_monsoon']
