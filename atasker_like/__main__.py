"""python -m atasker_like"""
from .cli import main

if __name__ == "__main__":
    raise SystemExit(main())
