"""`maskr report`, by its file: python tools/report.py --help."""

import maskr

main = maskr.tool("report", __file__)

if __name__ == "__main__":
    maskr.end("report", main)
