"""`maskr plot`, by its file: python tools/plot_logs.py --help."""

import maskr

main = maskr.tool("plot", __file__)

if __name__ == "__main__":
    maskr.end("plot", main)
