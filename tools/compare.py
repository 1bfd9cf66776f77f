"""`maskr compare`, by its file: python tools/compare.py --help."""

import maskr

main = maskr.tool("compare", __file__)

if __name__ == "__main__":
    maskr.end("compare", main)
