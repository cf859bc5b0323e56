"""How the mixture moves over a run: pure maths, no files, no torch.

    Curriculum -> CurveFunction      -> Mixture            -> Apportioner
    (YAML)        one group's ratio     every source's        which source
                  and its integral      share and integral    makes the next row

`plan` turns the same values into what a person wants to know before a run starts.
"""
