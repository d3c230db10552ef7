"""What became of the specs of a run, told from its ledger.

Which outcome of each spec counts, which failures are alike, and the outcomes that specs get from others that are the
same. May use the ledger and the files of a run; knows no engine and no final table.
"""
