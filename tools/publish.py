"""`maskr publish`, by its file: python tools/publish.py --help."""

import maskr

main = maskr.tool("publish", __file__)

if __name__ == "__main__":
    maskr.end("publish", main)
