"""`maskr tile`, by its file: python tools/tile_dataset.py --help."""

import maskr

main = maskr.tool("tile", __file__)

if __name__ == "__main__":
    maskr.end("tile", main)
