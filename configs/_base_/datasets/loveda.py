# LoveDA, urban and rural: `crossearth data info loveda`. The labels of its test split are hidden.
_base_ = './crop_1024.py'
data_root = '{{$CROSSEARTH_DATA:data}}/loveda'
train_dataloader = dict(dataset=dict(type='LoveDA'))
test_dataloader = dict(dataset=dict(type='LoveDA', split='val'))
