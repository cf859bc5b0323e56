"""The mixture over a run: pure maths, no files, no torch.

    Curriculum -> CurveFunction      -> Mixture            -> Apportioner
    (YAML)        one group's ratio     every source's        the source of
              and its integral      share and integral    each row

Open `mixture` first. `apportion` assigns rows to sources by their `deadlines`, `timeline` folds a
run's decisions into phases, `drift` compares rows with their plan, `learning_rate` has the rate of
each step, and `run_plan` computes from the same values what a reader should know before a run
starts.
"""
