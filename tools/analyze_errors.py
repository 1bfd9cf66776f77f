"""`maskr errors`, by its file: python tools/analyze_errors.py --help."""

import maskr

main = maskr.tool("errors", __file__)

if __name__ == "__main__":
    maskr.end("errors", main)
