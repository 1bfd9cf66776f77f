"""`maskr replay`, by its file: python tools/replay_batch.py --help."""

import maskr

main = maskr.tool("replay", __file__)

if __name__ == "__main__":
    maskr.end("replay", main)
