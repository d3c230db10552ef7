"""What of a run need not be run, since an earlier run or another row of the same run has its outcome.

Specs are the same where their inputs, the contents of their files, and the code of the experiment are. It may read
earlier runs and write to the ledger of the new one, and runs nothing itself.
"""
