"""
The fault campaign: real servers, several client processes, faults, and checked histories.

    make faults                       a minute on every store
    make faults ARGS="--seconds 600"  longer, in all; ARGS=--help tells the rest

How it goes (ADR-0026): :mod:`faults.campaign` starts a server and a proxy before
it (:mod:`faults.arenas`), then several client processes (:mod:`faults.client`).
Their workers do whatever the services offer, at random (:mod:`faults.worker`),
with each other's session ids (:mod:`faults.world`). Meanwhile a nemesis injects
one fault after the other (:mod:`faults.nemesis`). Everybody writes down what was
called, when, and what came back (:mod:`faults.history`). Afterwards one checker
for each promise reads the histories (:mod:`faults.promises`), and
:mod:`faults.leaks` searches all files for secrets.

A checker knows nothing of stores, seeds or what a worker had in mind: only calls,
returns and the clock that all processes share. Planted bugs
(:mod:`faults.bugs`) prove that each of them finds what it is for.
"""
