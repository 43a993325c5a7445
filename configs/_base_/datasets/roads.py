# DeepGlobe to Massachusetts roads: `crossearth data info deepglobe`, `... massachusetts`.
# The IoU of roads counts first.
_base_ = './crop_1024.py'
train_dataloader = dict(
    dataset=dict(type='DeepGlobeRoad', data_root='{{$CROSSEARTH_DATA:data}}/deepglobe'))
test_dataloader = dict(
    dataset=dict(type='MassachusettsRoad', data_root='{{$CROSSEARTH_DATA:data}}/massachusetts'))
test_evaluator = dict(foreground=1)
