"""The mixture over a run: pure maths, no files, no torch.

    Curriculum -> CurveFunction      -> Mixture            -> Apportioner
    (YAML)        one group's ratio     every source's        the source of
              and its integral      share and integral    each row
`plan` computes from the same values a report to read before a run starts.
"""
