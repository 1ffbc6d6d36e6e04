"""What a target error takes: data, model, compute, time, energy and money.

``projection``, with ``scaling``, ``first_order``, ``roofline`` and ``machines``; ``follow_up``
holds a paper's figures against its constants.
"""
