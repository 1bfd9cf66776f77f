"""Train on several GPUs or, without any, several CPU processes:

    python tools/dist_train.py CONFIG PROCESSES [options of tools/train.py]

On several nodes run it on each, with NNODES, NODE_RANK, MASTER_ADDR and PORT set. When a process
dies, all are restarted from the newest checkpoint, at most MAX_RESTARTS (3) times.
"""

import os
import uuid

import _torchrun

if __name__ == "__main__":
    os.environ["MMDET_MASKR_LAUNCH"] = uuid.uuid4().hex  # restarts go on from this call's own
    _torchrun.run_tool("train.py", str(__doc__), before=1, max_restarts=3)
