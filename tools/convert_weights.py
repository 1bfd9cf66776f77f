"""`maskr convert-weights`, by its file: python tools/convert_weights.py --help."""

import maskr

main = maskr.tool("convert-weights", __file__)

if __name__ == "__main__":
    maskr.end("convert-weights", main)
