"""`maskr zoo`, by its file: python tools/list_configs.py --help."""

import maskr

main = maskr.tool("zoo", __file__)

if __name__ == "__main__":
    maskr.end("zoo", main)
