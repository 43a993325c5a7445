# A domain gap of one's own: buildings of Zanzibar, then of regions never seen.
_base_ = ['../_base_/models/demo_crossearth.py', '../_base_/datasets/buildings.py',
          '../_base_/schedules/demo_300.py', '../_base_/baselines_runtime.py']
model = dict(test_cfg=dict(mode='slide'))  # windows of the size that is trained
