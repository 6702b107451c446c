"""`python -m kintsugi`."""

from kintsugi.cli import main

if __name__ == "__main__":
    main()
