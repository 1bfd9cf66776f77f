"""`maskr train`, by its file: python tools/train.py --help."""

import maskr

main = maskr.tool("train", __file__)

if __name__ == "__main__":
    maskr.end("train", main)
