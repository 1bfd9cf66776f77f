"""`maskr shapes`, by its file: python tools/make_shapes.py --help."""

import maskr

main = maskr.tool("shapes", __file__)

if __name__ == "__main__":
    maskr.end("shapes", main)
