"""`maskr browse`, by its file: python tools/browse_dataset.py --help."""

import maskr

main = maskr.tool("browse", __file__)

if __name__ == "__main__":
    maskr.end("browse", main)
