_base_ = [
    '../_base_/models/demo_daformer.py', '../_base_/datasets/bluemarble.py',
    '../_base_/schedules/demo_300.py', '../_base_/default_runtime.py']
source = ['subtropical_monsoon']
