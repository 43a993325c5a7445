# A domain gap of one's own: buildings of Zanzibar, then of regions never seen.
_base_ = ['../_base_/models/demo_crossearth.py', '../_base_/datasets/folders_small.py',
          '../_base_/schedules/demo_300.py', '../_base_/baselines_runtime.py']
data_root = '{{$CROSSEARTH_DATA:data}}/buildings'
classes, palette = ['background', 'building'], [[0, 0, 0], [255, 0, 0]]
source, targets = ['zanzibar'], ['uganda', 'nepal', 'nepal_banepa_z19', 'philippines']
model = dict(test_cfg=dict(mode='slide'))  # windows of the size that is trained
test_evaluator = dict(foreground=1)
