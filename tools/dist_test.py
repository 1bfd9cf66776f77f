"""Test on several GPUs or, without any, several CPU processes:

    python tools/dist_test.py CONFIG CHECKPOINT PROCESSES [options of tools/test.py]

On several nodes run it on each, with NNODES, NODE_RANK, MASTER_ADDR and PORT set.
"""

import _torchrun

if __name__ == "__main__":
    _torchrun.run_tool("test.py", str(__doc__), before=2, max_restarts=0)
