"""``_base_ = "maxvit_dense::maskrcnn_maxvit_t_coco.py"`` in anybody's config, as mmengine knows ``mmdet::``."""

from mmengine.config import Config

from ...config_names import UnknownConfig, find_base

_PREFIX = "maxvit_dense::"


def register_prefix() -> None:
    """Teaches mmengine the prefix; other names go on as before. May be called again.

    mmengine knows the packages of OpenMMLab alone, and of these no config without a folder before its name.
    """
    resolve = Config._get_cfg_path
    if getattr(resolve, "knows", None) == _PREFIX:
        return

    def resolve_ours(cfg_path: str, filename: str) -> tuple[str, str | None]:
        if not cfg_path.startswith(_PREFIX):
            return resolve(cfg_path, filename)
        try:
            return str(find_base(cfg_path.removeprefix(_PREFIX))), None
        except UnknownConfig as error:
            raise FileNotFoundError(str(error)) from error

    resolve_ours.knows = _PREFIX
    Config._get_cfg_path = staticmethod(resolve_ours)
