"""The loop: a level-triggered controller. Each tick reads what is true and does what is due next; only it submits runs unasked.

Every step is a claim, committed before any call, and may be repeated: a crash anywhere is mended by the next tick. What is to be
done was decided by monitoring and written before; nothing is concluded here.
"""
