"""Training with weights, gradients and moments in shards over the processes: PyTorch's FSDP2, block by block."""

from typing import Any

import torch
from mmengine._strategy import DDPStrategy, SingleDeviceStrategy
from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.registry import STRATEGIES
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils._pytree import tree_map_only


@STRATEGIES.register_module()
class ShardedStrategy(DDPStrategy):
    """``fully_shard`` for each block of the network, and for the rest: a process holds its part of every tensor.

    Checkpoints hold whole tensors, as every training writes them: they resume on any number of processes, with this
    strategy or without. One process by itself shards nothing. ``sync_bn`` as of the Runner.
    """

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        if not self.distributed:
            return SingleDeviceStrategy._wrap_model(self, model)
        # FSDP2 takes no weights in channels-last order.
        model = self.convert_model(model.to(get_device(), memory_format=torch.contiguous_format))
        mesh = torch.distributed.init_device_mesh(get_device(), (self.world_size,))
        for name, module in model.named_modules():
            if name.split(".")[-2:-1] == ["blocks"]:  # timm's word, stages.0.blocks.1
                fully_shard(module, mesh=mesh)
        fully_shard(model, mesh=mesh)
        model.register_load_state_dict_pre_hook(_shard_weights)  # the last one: names are the model's by then
        return model

    def save_checkpoint(self, filename: str, *, save_optimizer: bool = True, **options: Any) -> None:
        if is_main_process():
            SingleDeviceStrategy.save_checkpoint(self, filename, save_optimizer=save_optimizer, **options)
            return
        self.model_state_dict()  # all processes gather, in one order
        if save_optimizer:
            self.optim_state_dict()

    def model_state_dict(self) -> dict:
        return _gathered(self.model.state_dict())

    def optim_state_dict(self) -> dict:
        return _gathered(super().optim_state_dict())

    def load_optim_state_dict(self, state_dict: dict) -> None:
        parameters = [p for group in self.optim_wrapper.param_groups for p in group["params"]]
        state = {
            i: {name: _as(parameters[i], value) for name, value in moments.items()}
            for i, moments in state_dict["state"].items()
        }
        super().load_optim_state_dict(dict(state_dict, state=state))


def _gathered(state: dict) -> dict:
    """With whole tensors in the place of shards; in the first process alone, the others' are empty."""

    def gather(shard: DTensor) -> Tensor:
        whole = shard.full_tensor()
        return whole.cpu() if is_main_process() else whole.new_empty(0)

    return tree_map_only(DTensor, gather, state)


def _shard_weights(model: nn.Module, state_dict: dict, prefix: str, *args: Any) -> None:
    for name, own in model.state_dict(prefix=prefix).items():
        if name in state_dict:
            state_dict[name] = _as(own, state_dict[name])


def _as(own: Tensor, value: Any) -> Any:
    """This process's shard of a tensor, where ``own`` is one of the same shape (a count of steps is not)."""
    if not isinstance(own, DTensor) or own.shape != value.shape:
        return value
    return distribute_tensor(value.to(own.device), own.device_mesh, own.placements, src_data_rank=None)
