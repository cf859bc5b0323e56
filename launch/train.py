"""`deepspeed launch/train.py RECIPE`, `torchrun launch/train.py RECIPE`: see `linly.launch`."""

from linly.launch import main

if __name__ == "__main__":
    main()
