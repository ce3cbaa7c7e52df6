"""`python -m shared.runtime.migrate`, the path before 0.3; see `shared.core.migrate`."""

from shared.core.migrate import main

if __name__ == "__main__":
    main()
