"""The catalogue of configs: their files, what is in them, and published results."""

from mmdet_maskr.catalogue.files import config_path, config_paths, configs_dir

__all__ = ["config_path", "config_paths", "configs_dir"]
