custom_imports = dict(imports=['mmdet_maskr'])
default_scope = 'mmdet'
runner_type = 'mmdet.DurableRunner'  # with its scope, MMDetection's own tools find it too

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='DurableCheckpointHook', interval=1, max_keep_ckpts=3),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='DetVisualizationHook'))
custom_hooks = [
    dict(type='DatasetFitHook'),
    dict(type='CheckpointFitHook'),
    dict(type='RLEMasksInEvaluationHook'),
    dict(type='ChannelsLastHook'),  # on CPUs, where it is faster
    dict(type='LossGuardHook'),
    dict(type='HangGuardHook')
]

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    # longer than HangGuardHook's 30 minutes, and than the evaluation on the first rank
    dist_cfg=dict(backend='nccl', timeout=7200))

vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='InstanceVisualizer', vis_backends=vis_backends, name='visualizer')
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=True)
log_level = 'INFO'
load_from = None
resume = False
