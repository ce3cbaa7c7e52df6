"""`python -m shared.runtime.migrate`, as deployments before 0.3 call it: see `shared.core.migrate`."""

from shared.core.migrate import main

if __name__ == "__main__":
    main()
