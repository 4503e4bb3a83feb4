"""What a rollout does next. Pure: no I/O, no clock, no randomness; the same on a laptop and on a cluster.

:func:`.decide.decide` is a function of the schedule (:mod:`.schedule`), the run so far (:mod:`.run`), its inputs
(:mod:`.inputs`) and the time. It returns the run as it is from now on; :func:`.desired.derive_desired` returns the
desired state for it. The caller records the run first and applies the state then: after a crash the next process goes
on from the record. Nothing in a run is a difference: to apply it twice is to apply it once.

================  ==============  =================================================================  ================
state             canary's weight goes on when                                                       to
================  ==============  =================================================================  ================
Preparing         0               the canary is verified and has the pods for the first weight       Analyzing
Analyzing         of its step     the step's minDuration is over, counters were read, and nothing    Scaling, or
                                  fails; after the last step only when everything passes             AwaitingApproval
AwaitingApproval  of its step     somebody resumes                                                   Scaling
Scaling           of its step     the canary has the pods for the next weight, after the last step   Analyzing; Baking
                                  for all                                                            after the last
Paused            as it was       somebody resumes                                                   the state before
Baking            100, less the   the bake time is over, and nothing has failed against the          Promoted
                  holdback        holdback
Promoted          100             (end)
Aborting          0, or as it     stable has its pods back (it does not wait for them where the      Aborted
                  was             canary fails), and the route has let go of the canary
Aborted           0               (end, until a new revision, a new plan or a new start)
RollingBack       100, then 0     as Aborting, of a version that was promoted                        RolledBack
RolledBack        0               (end, as Aborted)
Observing         by the spec     the horizon is over                                                Completed
Completed         by the spec     (end)
================  ==============  =================================================================  ================

A promoted version is rolled back when a person says so, as long as stable has its pods.

From every state before an end, but Observing: a failing metric, a component without ready pods that has weight, a newer
spec, deletion, or a person's word lead to Aborting; in Baking a newer spec leads to Promoted instead, as its version
has been found good.
"""
