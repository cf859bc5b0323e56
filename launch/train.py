"""What `deepspeed`, `torchrun` and `srun` start: `linly train` with the same arguments."""

import sys

from linly.cli.main import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
