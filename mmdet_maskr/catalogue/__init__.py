"""The catalogue of configs: where they lie, what is in them, what others published for the same."""

from mmdet_maskr.catalogue.files import config_path, config_paths, configs_dir

__all__ = ["config_path", "config_paths", "configs_dir"]
