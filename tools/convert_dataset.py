"""`maskr convert`, by its file: python tools/convert_dataset.py --help."""

import maskr

main = maskr.tool("convert", __file__)

if __name__ == "__main__":
    maskr.end("convert", main)
