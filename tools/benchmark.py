"""`maskr benchmark`, by its file: python tools/benchmark.py --help."""

import maskr

main = maskr.tool("benchmark", __file__)

if __name__ == "__main__":
    maskr.end("benchmark", main)
