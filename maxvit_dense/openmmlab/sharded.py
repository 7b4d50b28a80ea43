"""Training with weights in shards over the GPUs: mmengine's FSDP strategy, made to resume."""

from mmengine._strategy import FSDPStrategy
from mmengine.registry import STRATEGIES
from torch.distributed.fsdp import FullyShardedDataParallel


@STRATEGIES.register_module()
class ResumableFSDPStrategy(FSDPStrategy):
    """mmengine 0.10 hands the optimizer's state over in the argument order of before PyTorch 2.1, a TypeError since."""

    def load_optim_state_dict(self, state_dict: dict) -> None:
        state = FullyShardedDataParallel.optim_state_dict_to_load(
            model=self.model, optim=self.optim_wrapper.optimizer, optim_state_dict=state_dict
        )
        self.optim_wrapper.load_state_dict(state)
