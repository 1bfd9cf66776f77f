"""`maskr export`, by its file: python tools/export.py --help."""

import maskr

main = maskr.tool("export", __file__)

if __name__ == "__main__":
    maskr.end("export", main)
