"""`maskr test`, by its file: python tools/test.py --help."""

import maskr

main = maskr.tool("test", __file__)

if __name__ == "__main__":
    maskr.end("test", main)
