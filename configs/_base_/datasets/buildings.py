# Buildings of five regions in drone images (OpenAerialMap, footprints of OpenStreetMap): folders of images and labels.
_base_ = './folders_small.py'
data_root = '{{$CROSSEARTH_DATA:data}}/buildings'
classes, palette = ['background', 'building'], [[0, 0, 0], [255, 0, 0]]
source, targets = ['zanzibar'], ['uganda', 'nepal', 'nepal_banepa_z19', 'philippines']
test_evaluator = dict(foreground=1)
