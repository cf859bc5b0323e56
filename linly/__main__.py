"""`python -m linly`: the same as `linly`."""

from linly.cli.main import main

if __name__ == "__main__":
    main()
