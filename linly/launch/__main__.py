"""`python -m linly.launch`, as launchers start it."""

from linly.launch import main

if __name__ == "__main__":
    main()
