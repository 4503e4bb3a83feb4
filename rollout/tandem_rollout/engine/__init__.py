"""What a rollout does next. Pure: no I/O, no clock, no randomness; the same on a laptop and on a cluster.

:func:`.decide.decide` is a function of the schedule (:mod:`.schedule`), the run so far (:mod:`.run`), what is seen
(:mod:`.seen`) and the time. It gives the run as it should be from now on; :func:`.desired.desired` says what the world
must look like for it. Whoever calls them writes the run down first and changes the world then, so that whoever comes
after a crash goes on from what was written. Nothing in a run is a difference: doing it twice is doing it once.

==========  ==============  ===================================================================  ====================
state       canary's weight goes on when                                                         to
==========  ==============  ===================================================================  ====================
Preparing   0               the canary has proved itself and has the pods for the first weight   Analysing
Analysing   of its step     the step's hold is over, counters were read, and nothing fails;      Scaling, or Gated
                            after the last step only when everything passes                      where the step pauses
Gated       of its step     somebody resumes                                                     Scaling
Scaling     of its step     the canary has the pods for the next weight, after the last step     Analysing; Baking
                            for all                                                              after the last step
Paused      as it was       somebody resumes                                                     what it was before
Baking      100, less what  the bake time is over, and nothing has failed against what is        Promoted
            is held back    held back
Promoted    100             (end)
Aborting    0, or as it     stable has its pods back (it does not wait for them where the        Aborted
            was             canary fails), and the route has let go of the canary
Aborted     0               (end, until a new revision, a new plan or a new start)
RollingBack 100, then 0     as Aborting, of a version that was promoted                          RolledBack
RolledBack  0               (end, as Aborted)
Observing   by the spec     the horizon is over                                                  Concluded
Concluded   by the spec     (end)
==========  ==============  ===================================================================  ====================

A promoted version is rolled back when a person says so, as long as stable has its pods.

From every state before an end, but Observing: a failing metric, a half without ready pods that has weight, a newer
spec, deletion, or a person's word lead to Aborting; in Baking a newer spec leads to Promoted instead, as its version
has been found good.
"""
