"""`maskr check`, by its file: python tools/check_dataset.py --help."""

import maskr

main = maskr.tool("check", __file__)

if __name__ == "__main__":
    maskr.end("check", main)
