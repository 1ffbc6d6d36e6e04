"""What training costs, before it is paid: what a target error takes, and how long a study will.

Of a target: ``projection``, with ``scaling``, ``first_order``, ``roofline`` and ``machines``; for a
study ``of_study``, for any source ``answers``, on the command line ``command``; ``follow_up`` holds
a paper's figures against its constants. Of a study's own trials: ``price`` in FLOPs and memory,
``clock`` in time, with ``calibrate``, ``stops`` and ``estimate``. Imports nothing: ``steep --help``
comes through here.
"""
