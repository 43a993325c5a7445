# Your own folders <data_root>/<domain>/{images,labels} in crops of 512 px.
# A config over this one names data_root, classes, source and targets; palette if it likes.
_base_ = './crop_512.py'
train_dataloader = dict(dataset=dict(type='FolderDataset'))
test_dataloader = dict(dataset=dict(type='FolderDataset'))
