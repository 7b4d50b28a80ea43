"""The launchers that a config may name."""

import os

# What mmengine reads of each launcher's environment, and how the launcher is started.
LAUNCHERS = {
    "pytorch": (("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"), "torchrun --nproc_per_node=GPUS"),
    "slurm": (("SLURM_PROCID", "SLURM_NTASKS", "SLURM_NODELIST"), "srun --ntasks=GPUS python"),
    "mpi": (("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "MASTER_ADDR"), "mpirun -n GPUS python"),
}


def world_size(launcher: str) -> int:
    """How many processes the launcher started."""
    return 1 if launcher == "none" else int(os.environ[LAUNCHERS[launcher][0][1]])
