"""Before a study is trained: its dry run, its FLOPs and memory, how long it takes, its budget.

``dry_run`` asks the planner what it wants; ``price`` knows FLOPs and memory of a trial;
``calibrate`` times steps on this machine; ``stops`` and ``lengths`` say when trials end;
``scenarios`` imagines results and ``estimate`` plays the search in them; ``clock`` gathers all
that, ``watch`` repeats it during a run; ``checks`` are what the spec asks of data and machine.
"""
