"""The engine: it decides how a run continues. Pure: no I/O, no clock, no randomness.

:func:`.decide.decide` is a function of the schedule (:mod:`.schedule`), the run (:mod:`.run`), the inputs
(:mod:`.inputs`) and the time. It returns the run from now on. :func:`.desired.derive_desired` returns the desired state
of that run. The caller records the run before it applies the desired state, so that another process can continue after
a crash. A run contains absolute values only: applying it twice has the same result as applying it once.

================  ==============  =================================================================  ================
state             canary's weight the run moves on when                                              to
================  ==============  =================================================================  ================
Preparing         0               the canary is verified and has the pods for the first weight       Analyzing
Analyzing         of its step     the step's minDuration is over, a sample was taken, and no metric  Scaling, or
                                  fails; after the last step only when all metrics pass              AwaitingApproval
AwaitingApproval  of its step     a user resumes                                                     Scaling
Scaling           of its step     the canary has the pods for the next weight, or for all requests   Analyzing; Baking
                                  after the last step                                                after the last
Paused            unchanged       a user resumes                                                     the state before
Baking            100, less the   the bake time is over, and no metric has failed                    Promoted
                  holdback
Promoted          100             (end)
Aborting          unchanged,      stable has its pods back (without waiting for them if the canary   Aborted
                  then 0          fails), and the canary has no weight in the route
Aborted           0               (end, until a new revision, a new plan or a new start)
RollingBack       100, then 0     as Aborting, for a version that was promoted                       RolledBack
RolledBack        0               (end, as Aborted)
Observing         of the spec     the horizon is reached                                             Completed
Completed         of the spec     (end)
================  ==============  =================================================================  ================

A promoted version is rolled back by a command, as long as stable has its pods.

A failing metric, a canary with weight whose transformer or predictor has no ready pods, a change of the spec, the
deletion of the rollout, or a command leads from every state to Aborting, except from Observing and from the ends. In
Baking a change of the spec leads to Promoted instead, as the metrics of that version have passed.
"""
