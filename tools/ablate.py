"""`maskr ablate`, by its file: python tools/ablate.py --help."""

import maskr

main = maskr.tool("ablate", __file__)

if __name__ == "__main__":
    maskr.end("ablate", main)
